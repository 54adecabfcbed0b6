//! Erlang/OTP's documented behaviour: three strategies × three restart types × four ways to end × within and beyond the
//! budget. Of three children the second one ends; the row says who is stopped (`-`) and started (`+`) then, in order.

use veltrix_actors::{ExitReason, Restart, Strategy};

use crate::probes::{Way, in_virtual_time, probe};

#[derive(PartialEq)]
enum Outcome {
    Runs,
    GivesUp,
}

fn assert_row(
    strategy: Strategy,
    restart: Restart,
    way: Way,
    budget: usize,
    log: &str,
    outcome: &Outcome,
) {
    in_virtual_time(async || {
        let children = [probe("a"), probe("b").restart(restart), probe("c")];
        let mut tree = probe("root")
            .strategy(strategy)
            .budget(budget)
            .over(children)
            .start()
            .await;
        assert_eq!(tree.log(), "+a +b +c");
        tree.end("b", way).await;
        assert_eq!(tree.log(), log);
        if *outcome == Outcome::GivesUp {
            let reason = match way {
                Way::Normal => "b: ended unexpectedly",
                Way::Error => "b: broke",
                Way::Panic => "b: panicked",
                Way::Kill => "b: was lost",
            };
            assert_eq!(tree.exit(), Some(ExitReason::Failed(reason.to_owned())));
            return;
        }
        assert_eq!(tree.exit(), None);
        tree.stop().await;
        let is_down = log.is_empty();
        assert_eq!(tree.log(), if is_down { "-c -a" } else { "-c -b -a" });
        assert_eq!(tree.exit(), Some(ExitReason::Normal));
    });
}

macro_rules! rows {
    ($($name:ident: $strategy:ident $restart:ident $way:ident $budget:literal => $log:literal $outcome:ident;)*) => {$(
        #[test]
        fn $name() {
            let (strategy, restart) = (Strategy::$strategy, Restart::$restart);
            assert_row(strategy, restart, Way::$way, $budget, $log, &Outcome::$outcome);
        }
    )*};
}

rows! {
    one_for_one_restarts_only_a_permanent_child_that_ended_normally_within_the_budget: OneForOne Permanent Normal 1 => "+b" Runs;
    one_for_one_gives_up_when_a_permanent_child_ended_normally_beyond_the_budget: OneForOne Permanent Normal 0 => "-c -a" GivesUp;
    one_for_one_restarts_only_a_permanent_child_that_failed_within_the_budget: OneForOne Permanent Error 1 => "+b" Runs;
    one_for_one_gives_up_when_a_permanent_child_failed_beyond_the_budget: OneForOne Permanent Error 0 => "-c -a" GivesUp;
    one_for_one_restarts_only_a_permanent_child_that_panicked_within_the_budget: OneForOne Permanent Panic 1 => "+b" Runs;
    one_for_one_gives_up_when_a_permanent_child_panicked_beyond_the_budget: OneForOne Permanent Panic 0 => "-c -a" GivesUp;
    one_for_one_restarts_only_a_permanent_child_that_was_killed_within_the_budget: OneForOne Permanent Kill 1 => "+b" Runs;
    one_for_one_gives_up_when_a_permanent_child_was_killed_beyond_the_budget: OneForOne Permanent Kill 0 => "-c -a" GivesUp;
    one_for_one_leaves_a_transient_child_that_ended_normally_down_within_the_budget: OneForOne Transient Normal 1 => "" Runs;
    one_for_one_leaves_a_transient_child_that_ended_normally_down_beyond_the_budget: OneForOne Transient Normal 0 => "" Runs;
    one_for_one_restarts_only_a_transient_child_that_failed_within_the_budget: OneForOne Transient Error 1 => "+b" Runs;
    one_for_one_gives_up_when_a_transient_child_failed_beyond_the_budget: OneForOne Transient Error 0 => "-c -a" GivesUp;
    one_for_one_restarts_only_a_transient_child_that_panicked_within_the_budget: OneForOne Transient Panic 1 => "+b" Runs;
    one_for_one_gives_up_when_a_transient_child_panicked_beyond_the_budget: OneForOne Transient Panic 0 => "-c -a" GivesUp;
    one_for_one_restarts_only_a_transient_child_that_was_killed_within_the_budget: OneForOne Transient Kill 1 => "+b" Runs;
    one_for_one_gives_up_when_a_transient_child_was_killed_beyond_the_budget: OneForOne Transient Kill 0 => "-c -a" GivesUp;
    one_for_one_leaves_a_temporary_child_that_ended_normally_down_within_the_budget: OneForOne Temporary Normal 1 => "" Runs;
    one_for_one_leaves_a_temporary_child_that_ended_normally_down_beyond_the_budget: OneForOne Temporary Normal 0 => "" Runs;
    one_for_one_leaves_a_temporary_child_that_failed_down_within_the_budget: OneForOne Temporary Error 1 => "" Runs;
    one_for_one_leaves_a_temporary_child_that_failed_down_beyond_the_budget: OneForOne Temporary Error 0 => "" Runs;
    one_for_one_leaves_a_temporary_child_that_panicked_down_within_the_budget: OneForOne Temporary Panic 1 => "" Runs;
    one_for_one_leaves_a_temporary_child_that_panicked_down_beyond_the_budget: OneForOne Temporary Panic 0 => "" Runs;
    one_for_one_leaves_a_temporary_child_that_was_killed_down_within_the_budget: OneForOne Temporary Kill 1 => "" Runs;
    one_for_one_leaves_a_temporary_child_that_was_killed_down_beyond_the_budget: OneForOne Temporary Kill 0 => "" Runs;

    one_for_all_restarts_all_for_a_permanent_child_that_ended_normally_within_the_budget: OneForAll Permanent Normal 1 => "-c -a +a +b +c" Runs;
    one_for_all_gives_up_when_a_permanent_child_ended_normally_beyond_the_budget: OneForAll Permanent Normal 0 => "-c -a" GivesUp;
    one_for_all_restarts_all_for_a_permanent_child_that_failed_within_the_budget: OneForAll Permanent Error 1 => "-c -a +a +b +c" Runs;
    one_for_all_gives_up_when_a_permanent_child_failed_beyond_the_budget: OneForAll Permanent Error 0 => "-c -a" GivesUp;
    one_for_all_restarts_all_for_a_permanent_child_that_panicked_within_the_budget: OneForAll Permanent Panic 1 => "-c -a +a +b +c" Runs;
    one_for_all_gives_up_when_a_permanent_child_panicked_beyond_the_budget: OneForAll Permanent Panic 0 => "-c -a" GivesUp;
    one_for_all_restarts_all_for_a_permanent_child_that_was_killed_within_the_budget: OneForAll Permanent Kill 1 => "-c -a +a +b +c" Runs;
    one_for_all_gives_up_when_a_permanent_child_was_killed_beyond_the_budget: OneForAll Permanent Kill 0 => "-c -a" GivesUp;
    one_for_all_leaves_a_transient_child_that_ended_normally_down_within_the_budget: OneForAll Transient Normal 1 => "" Runs;
    one_for_all_leaves_a_transient_child_that_ended_normally_down_beyond_the_budget: OneForAll Transient Normal 0 => "" Runs;
    one_for_all_restarts_all_for_a_transient_child_that_failed_within_the_budget: OneForAll Transient Error 1 => "-c -a +a +b +c" Runs;
    one_for_all_gives_up_when_a_transient_child_failed_beyond_the_budget: OneForAll Transient Error 0 => "-c -a" GivesUp;
    one_for_all_restarts_all_for_a_transient_child_that_panicked_within_the_budget: OneForAll Transient Panic 1 => "-c -a +a +b +c" Runs;
    one_for_all_gives_up_when_a_transient_child_panicked_beyond_the_budget: OneForAll Transient Panic 0 => "-c -a" GivesUp;
    one_for_all_restarts_all_for_a_transient_child_that_was_killed_within_the_budget: OneForAll Transient Kill 1 => "-c -a +a +b +c" Runs;
    one_for_all_gives_up_when_a_transient_child_was_killed_beyond_the_budget: OneForAll Transient Kill 0 => "-c -a" GivesUp;
    one_for_all_leaves_a_temporary_child_that_ended_normally_down_within_the_budget: OneForAll Temporary Normal 1 => "" Runs;
    one_for_all_leaves_a_temporary_child_that_ended_normally_down_beyond_the_budget: OneForAll Temporary Normal 0 => "" Runs;
    one_for_all_leaves_a_temporary_child_that_failed_down_within_the_budget: OneForAll Temporary Error 1 => "" Runs;
    one_for_all_leaves_a_temporary_child_that_failed_down_beyond_the_budget: OneForAll Temporary Error 0 => "" Runs;
    one_for_all_leaves_a_temporary_child_that_panicked_down_within_the_budget: OneForAll Temporary Panic 1 => "" Runs;
    one_for_all_leaves_a_temporary_child_that_panicked_down_beyond_the_budget: OneForAll Temporary Panic 0 => "" Runs;
    one_for_all_leaves_a_temporary_child_that_was_killed_down_within_the_budget: OneForAll Temporary Kill 1 => "" Runs;
    one_for_all_leaves_a_temporary_child_that_was_killed_down_beyond_the_budget: OneForAll Temporary Kill 0 => "" Runs;

    rest_for_one_restarts_the_younger_with_a_permanent_child_that_ended_normally_within_the_budget: RestForOne Permanent Normal 1 => "-c +b +c" Runs;
    rest_for_one_gives_up_when_a_permanent_child_ended_normally_beyond_the_budget: RestForOne Permanent Normal 0 => "-c -a" GivesUp;
    rest_for_one_restarts_the_younger_with_a_permanent_child_that_failed_within_the_budget: RestForOne Permanent Error 1 => "-c +b +c" Runs;
    rest_for_one_gives_up_when_a_permanent_child_failed_beyond_the_budget: RestForOne Permanent Error 0 => "-c -a" GivesUp;
    rest_for_one_restarts_the_younger_with_a_permanent_child_that_panicked_within_the_budget: RestForOne Permanent Panic 1 => "-c +b +c" Runs;
    rest_for_one_gives_up_when_a_permanent_child_panicked_beyond_the_budget: RestForOne Permanent Panic 0 => "-c -a" GivesUp;
    rest_for_one_restarts_the_younger_with_a_permanent_child_that_was_killed_within_the_budget: RestForOne Permanent Kill 1 => "-c +b +c" Runs;
    rest_for_one_gives_up_when_a_permanent_child_was_killed_beyond_the_budget: RestForOne Permanent Kill 0 => "-c -a" GivesUp;
    rest_for_one_leaves_a_transient_child_that_ended_normally_down_within_the_budget: RestForOne Transient Normal 1 => "" Runs;
    rest_for_one_leaves_a_transient_child_that_ended_normally_down_beyond_the_budget: RestForOne Transient Normal 0 => "" Runs;
    rest_for_one_restarts_the_younger_with_a_transient_child_that_failed_within_the_budget: RestForOne Transient Error 1 => "-c +b +c" Runs;
    rest_for_one_gives_up_when_a_transient_child_failed_beyond_the_budget: RestForOne Transient Error 0 => "-c -a" GivesUp;
    rest_for_one_restarts_the_younger_with_a_transient_child_that_panicked_within_the_budget: RestForOne Transient Panic 1 => "-c +b +c" Runs;
    rest_for_one_gives_up_when_a_transient_child_panicked_beyond_the_budget: RestForOne Transient Panic 0 => "-c -a" GivesUp;
    rest_for_one_restarts_the_younger_with_a_transient_child_that_was_killed_within_the_budget: RestForOne Transient Kill 1 => "-c +b +c" Runs;
    rest_for_one_gives_up_when_a_transient_child_was_killed_beyond_the_budget: RestForOne Transient Kill 0 => "-c -a" GivesUp;
    rest_for_one_leaves_a_temporary_child_that_ended_normally_down_within_the_budget: RestForOne Temporary Normal 1 => "" Runs;
    rest_for_one_leaves_a_temporary_child_that_ended_normally_down_beyond_the_budget: RestForOne Temporary Normal 0 => "" Runs;
    rest_for_one_leaves_a_temporary_child_that_failed_down_within_the_budget: RestForOne Temporary Error 1 => "" Runs;
    rest_for_one_leaves_a_temporary_child_that_failed_down_beyond_the_budget: RestForOne Temporary Error 0 => "" Runs;
    rest_for_one_leaves_a_temporary_child_that_panicked_down_within_the_budget: RestForOne Temporary Panic 1 => "" Runs;
    rest_for_one_leaves_a_temporary_child_that_panicked_down_beyond_the_budget: RestForOne Temporary Panic 0 => "" Runs;
    rest_for_one_leaves_a_temporary_child_that_was_killed_down_within_the_budget: RestForOne Temporary Kill 1 => "" Runs;
    rest_for_one_leaves_a_temporary_child_that_was_killed_down_beyond_the_budget: RestForOne Temporary Kill 0 => "" Runs;
}
