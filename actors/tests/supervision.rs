//! Supervision by Erlang/OTP's rules: who is started, stopped and restarted, in which order, and when that is given up.

#[path = "supervision/coming_and_going.rs"]
mod coming_and_going;
#[path = "supervision/otp_matrix.rs"]
mod otp_matrix;
#[path = "support/probes.rs"]
mod probes;

use std::time::Duration;

use probes::{Way, idle, in_virtual_time, pass, probe};
use tokio::time::Instant;
use veltrix_actors::{ActorState, AutoShutdown, ExitReason, Restart, Strategy};

fn failed(reason: &str) -> Option<ExitReason> {
    Some(ExitReason::Failed(reason.to_owned()))
}

#[test]
fn each_child_starts_once_its_elder_sibling_is_ready() {
    in_virtual_time(async || {
        let children = [probe("a"), probe("b").starts_slowly(), probe("c")];
        let mut tree = probe("root").over(children).start().await;
        assert_eq!((tree.log().as_str(), tree.is_up()), ("+a +b", false));
        tree.become_ready("b").await;
        assert_eq!((tree.log().as_str(), tree.is_up()), ("+c", true));
    });
}

#[test]
fn children_stop_youngest_first_each_once_the_one_before_has_ended_or_its_deadline_is_over() {
    in_virtual_time(async || {
        let slow = probe("b").ignores_stop().shutdown(Duration::from_secs(7));
        let children = [probe("a"), slow, probe("c")];
        let mut tree = probe("root").over(children).start().await;
        assert_eq!(tree.log(), "+a +b +c");
        tree.stop_at_once();
        pass(Duration::from_secs(6)).await;
        assert_eq!((tree.log().as_str(), tree.exit()), ("-c -b", None));
        pass(Duration::from_secs(2)).await;
        assert_eq!(tree.log(), "-a");
        assert_eq!(tree.exit(), Some(ExitReason::Normal));
        let b = tree.registry().actors.of("b");
        assert_eq!(b.state(), ActorState::Hung);
        let reason = b.last_failure().expect("it has not stopped").reason;
        assert_eq!(reason, "did not stop within 7s");
    });
}

#[test]
fn a_child_that_cannot_start_for_good_fails_the_start_and_its_elders_are_stopped_again() {
    in_virtual_time(async || {
        let broken = probe("c").fails_to_start(1, 100);
        let children = [probe("a"), probe("b"), broken, probe("d")];
        let mut tree = probe("root").budget(2).over(children).start().await;
        assert_eq!(tree.log(), "+a +b !c !c !c -b -a");
        assert!(!tree.is_up());
        assert_eq!(tree.exit(), failed("c: it is not there"));
    });
}

#[test]
fn a_restart_that_fails_is_tried_again_within_the_budget() {
    in_virtual_time(async || {
        let flaky = probe("b").fails_to_start(2, 2);
        let children = [probe("a"), flaky, probe("c")];
        let mut tree = probe("root")
            .strategy(Strategy::RestForOne)
            .budget(3)
            .over(children)
            .start()
            .await;
        assert_eq!(tree.log(), "+a +b +c");
        tree.end("b", Way::Error).await;
        assert_eq!(tree.log(), "-c !b !b +b +c");
        assert_eq!(tree.exit(), None);
        assert_eq!(tree.registry().restarts.get(), 3);
    });
}

#[test]
fn one_for_all_stops_who_is_up_again_when_another_cannot_be_started_again() {
    in_virtual_time(async || {
        let children = [probe("a"), probe("b").fails_to_start(2, 1), probe("c")];
        let tree = probe("root")
            .strategy(Strategy::OneForAll)
            .budget(3)
            .over(children)
            .start()
            .await;
        assert_eq!(tree.log(), "+a +b +c");
        tree.end("c", Way::Panic).await;
        assert_eq!(tree.log(), "-b -a +a !b -a +a +b +c");
    });
}

#[test]
fn an_elder_that_fails_while_the_younger_are_restarted_takes_them_along() {
    in_virtual_time(async || {
        let slow = probe("c").ignores_stop();
        let children = [probe("a"), probe("b"), slow];
        let tree = probe("root")
            .strategy(Strategy::RestForOne)
            .budget(3)
            .over(children)
            .start()
            .await;
        assert_eq!(tree.log(), "+a +b +c");
        tree.end_at_once("b", Way::Error);
        pass(Duration::from_secs(1)).await;
        assert_eq!(tree.log(), "-c");
        tree.end("a", Way::Error).await;
        assert_eq!(tree.log(), "+a +b +c");
        assert_eq!(tree.registry().actors.of("c").generation(), 2);
    });
}

#[test]
fn a_stop_gets_in_before_a_restart_that_waits() {
    in_virtual_time(async || {
        let children = [probe("a"), probe("b")];
        for strategy in [Strategy::OneForOne, Strategy::OneForAll] {
            let mut tree = probe("root")
                .strategy(strategy)
                .budget(1)
                .over(children.clone())
                .start()
                .await;
            tree.end_at_once("b", Way::Error);
            pass(Duration::from_millis(40)).await;
            assert!(tree.log().starts_with("+a +b"));
            let b = tree.registry().actors.of("b");
            assert_eq!(b.state(), ActorState::BackingOff);
            tree.stop().await;
            assert!(!tree.log().contains('+'));
            assert_eq!(tree.exit(), Some(ExitReason::Normal));
            assert_eq!(b.state(), ActorState::Stopped);
        }
    });
}

#[test]
fn a_supervisor_that_gives_up_waits_for_its_children_before_its_own_supervisor_starts_it_again() {
    in_virtual_time(async || {
        let slow = probe("a").ignores_stop().shutdown(Duration::from_secs(9));
        let inner = probe("inner").over([slow, probe("b")]);
        let children = [probe("outside"), inner];
        let mut tree = probe("root").budget(1).over(children).start().await;
        assert_eq!(tree.log(), "+outside +a +b");
        tree.end_at_once("b", Way::Panic);
        pass(Duration::from_secs(8)).await;
        assert_eq!(tree.log(), "-a");
        idle().await;
        assert_eq!(tree.log(), "+a +b");
        let actors = &tree.registry().actors;
        assert_eq!(actors.of("inner/b").generation(), 2);
        assert_eq!(actors.of("inner").restarts.get(), 1);
        let failure = actors.of("inner").last_failure().expect("it gave up");
        assert_eq!(failure.reason, "b: panicked");
        tree.end("b", Way::Panic).await;
        assert_eq!(tree.log(), "-a -outside");
        assert_eq!(tree.exit(), failed("inner: b: panicked"));
    });
}

#[test]
fn temporary_siblings_are_stopped_and_not_started_again() {
    in_virtual_time(async || {
        let temporary = probe("c").restart(Restart::Temporary);
        let children = [probe("a"), probe("b"), temporary, probe("d")];
        let tree = probe("root")
            .strategy(Strategy::RestForOne)
            .budget(2)
            .over(children)
            .start()
            .await;
        assert_eq!(tree.log(), "+a +b +c +d");
        tree.end("b", Way::Kill).await;
        assert_eq!(tree.log(), "-d -c +b +d");
        tree.end("b", Way::Error).await;
        assert_eq!(tree.log(), "-d +b +d");
    });
}

#[test]
fn a_transient_sibling_that_had_ended_is_started_again_with_the_others() {
    in_virtual_time(async || {
        let children = [probe("a").restart(Restart::Transient), probe("b")];
        let tree = probe("root")
            .strategy(Strategy::OneForAll)
            .budget(1)
            .over(children)
            .start()
            .await;
        tree.end("a", Way::Normal).await;
        assert_eq!(tree.log(), "+a +b");
        tree.end("b", Way::Error).await;
        assert_eq!(tree.log(), "+a +b");
    });
}

#[test]
fn any_significant_child_that_is_done_ends_its_supervisor() {
    in_virtual_time(async || {
        let significant = |id| probe(id).restart(Restart::Transient).significant();
        let mut tree = probe("root")
            .auto_shutdown(AutoShutdown::AnySignificant)
            .budget(1)
            .over([significant("a"), significant("b"), probe("c")])
            .start()
            .await;
        tree.end("a", Way::Error).await;
        assert_eq!((tree.log().as_str(), tree.exit()), ("+a +b +c +a", None));
        tree.end("b", Way::Normal).await;
        assert_eq!(tree.log(), "-c -a");
        assert_eq!(tree.exit(), Some(ExitReason::Normal));
    });
}

#[test]
fn the_last_significant_child_that_is_done_ends_its_supervisor() {
    in_virtual_time(async || {
        let temporary = probe("a").restart(Restart::Temporary).significant();
        let transient = probe("b").restart(Restart::Transient).significant();
        let mut tree = probe("root")
            .auto_shutdown(AutoShutdown::AllSignificant)
            .over([temporary, transient, probe("c")])
            .start()
            .await;
        tree.end("a", Way::Panic).await;
        assert_eq!((tree.log().as_str(), tree.exit()), ("+a +b +c", None));
        tree.end("b", Way::Normal).await;
        assert_eq!(tree.log(), "-c");
        assert_eq!(tree.exit(), Some(ExitReason::Normal));
    });
}

#[test]
fn a_significant_child_that_is_done_before_its_siblings_are_up_ends_them_once_they_are() {
    in_virtual_time(async || {
        let quick = probe("a").restart(Restart::Transient).significant();
        let mut tree = probe("root")
            .auto_shutdown(AutoShutdown::AllSignificant)
            .over([quick, probe("b").starts_slowly(), probe("c")])
            .start()
            .await;
        tree.end("a", Way::Normal).await;
        assert_eq!((tree.log().as_str(), tree.exit()), ("+a +b", None));
        tree.become_ready("b").await;
        assert_eq!((tree.log().as_str(), tree.is_up()), ("+c -c -b", true));
        assert_eq!(tree.exit(), Some(ExitReason::Normal));
    });
}

#[test]
fn children_that_contradict_themselves_are_refused_before_any_is_started() {
    in_virtual_time(async || {
        let transient = probe("b").restart(Restart::Transient).significant();
        for (second, reason) in [
            (probe("a"), "two children are called `a`"),
            (
                probe("b").significant(),
                "`b` is permanent, so it cannot be significant",
            ),
            (transient, "`b` is significant to no purpose"),
        ] {
            let mut tree = probe("root").over([probe("a"), second]).start().await;
            assert_eq!((tree.log().as_str(), tree.exit()), ("", failed(reason)));
        }
    });
}

/// How long after its end the child is started again.
async fn wait_of(tree: &probes::Tree, id: &str) -> Duration {
    let ended = Instant::now();
    tree.end_at_once(id, Way::Error);
    let status = tree.registry().actors.of(id);
    let generation = status.generation();
    while status.generation() == generation {
        pass(Duration::from_millis(10)).await;
    }
    ended.elapsed()
}

#[test]
fn the_wait_doubles_with_each_failure_and_starts_over_after_a_whole_period_of_good_behaviour() {
    in_virtual_time(async || {
        let period = Duration::from_secs(30);
        let tree = probe("root")
            .budget(9)
            .period(period)
            .over([probe("a")])
            .start()
            .await;
        let mut waits = Vec::new();
        for good_behaviour in [1, 1, 1, 31, 1] {
            pass(Duration::from_secs(good_behaviour)).await;
            waits.push(wait_of(&tree, "a").await.as_millis() / 50);
        }
        // The first start was an idle time ago.
        assert_eq!(waits, [1, 2, 4, 1, 2]);
    });
}

#[test]
fn failures_further_apart_than_the_period_never_use_the_budget_up() {
    in_virtual_time(async || {
        let mut tree = probe("root")
            .budget(1)
            .period(Duration::from_secs(30))
            .over([probe("a")])
            .start()
            .await;
        for _ in 0..5 {
            tree.end("a", Way::Panic).await;
        }
        assert_eq!(tree.exit(), None);
        tree.end_at_once("a", Way::Panic);
        pass(Duration::from_secs(1)).await;
        tree.end("a", Way::Panic).await;
        assert_eq!(tree.exit(), failed("a: panicked"));
    });
}

#[test]
fn one_that_hangs_is_replaced_at_the_expense_of_the_budget_and_not_heard_when_it_comes_back() {
    in_virtual_time(async || {
        let mut tree = probe("root").budget(1).over([probe("a")]).start().await;
        let hung = Duration::from_millis(1200);
        let first = tree.handle("a");
        first.report(ExitReason::Hung(hung));
        first.report(ExitReason::Hung(hung));
        idle().await;
        assert_eq!(tree.log(), "+a +a");
        first.report(ExitReason::Panicked);
        idle().await;
        assert_eq!(tree.log(), "");
        let a = tree.registry().actors.of("a");
        assert_eq!((a.state(), a.generation()), (ActorState::Running, 2));
        assert_eq!(a.restarts.get(), 1);
        let reason = a.last_failure().expect("it hung").reason;
        assert_eq!(reason, "hung for 1.2s");
        tree.handle("a").report(ExitReason::Hung(hung));
        idle().await;
        assert_eq!(tree.exit(), failed("a: hung for 1.2s"));
    });
}

#[test]
fn one_that_lost_its_thread_to_a_neighbour_is_replaced_at_once_and_for_nothing() {
    in_virtual_time(async || {
        let mut tree = probe("root").budget(0).over([probe("a")]).start().await;
        for generation in 2..5 {
            tree.handle("a").report(ExitReason::Displaced);
            pass(Duration::from_millis(1)).await;
            let a = tree.registry().actors.of("a");
            assert_eq!(
                (a.state(), a.generation()),
                (ActorState::Running, generation)
            );
        }
        assert_eq!(tree.exit(), None);
    });
}

#[test]
fn a_supervisor_that_is_lost_takes_its_children_along() {
    in_virtual_time(async || {
        let fatal = probe("b").panics_its_supervisor();
        let inner = probe("inner").budget(1).over([probe("a"), fatal]);
        let tree = probe("root").budget(1).over([inner]).start().await;
        assert_eq!(tree.log(), "+a +b");
        tree.end("b", Way::Error).await;
        assert_eq!(tree.log(), "-a +a +b");
        let failure = tree.registry().actors.of("inner").last_failure();
        assert_eq!(failure.expect("it was lost").reason, "panicked");
    });
}
