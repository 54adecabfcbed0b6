//! What a child's end means for it, its siblings and its supervisor: Erlang/OTP's rules as decisions, without actors or clocks.

use super::child::{ExitReason, Restart};

/// Whom a child that is started again takes along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody: children do not need one another.
    #[default]
    OneForOne,
    /// All its siblings: each needs all others.
    OneForAll,
    /// The siblings that were started after it: each needs those before it.
    RestForOne,
}

/// Whether a supervisor ends when children that are *significant* have ended by themselves and are not started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoShutdown {
    /// No.
    #[default]
    Never,
    /// With the first of them.
    AnySignificant,
    /// With the last of them.
    AllSignificant,
}

/// What the decision needs to know of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// When it is started again.
    pub(super) restart: Restart,
    /// Whether its end may end its supervisor.
    pub(super) is_significant: bool,
    /// Whether it is there.
    pub(super) presence: Presence,
}

/// Whether a child is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Not now, but it is about to be started.
    Expected,
    /// It runs, or is starting.
    Alive,
    /// It has ended by itself, and may be started again along with a sibling.
    Ended,
    /// It is never started again.
    Removed,
}

/// What follows from the end of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing; it stays down.
    Leave,
    /// The supervisor has nothing to live for, and ends normally.
    ShutDown,
    /// First those of `stop` are stopped in this order, then those of `start` are started in this order.
    Restart {
        /// Siblings that are there, the youngest first.
        stop: Vec<usize>,
        /// The child and its siblings, the eldest first.
        start: Vec<usize>,
    },
}

/// Decides what follows from the end of child `exited`. Children are numbered in the order in which they are started.
///
/// As in OTP, temporary children are stopped along with a sibling and not started again, and a transient one that had
/// ended normally is started again along with a sibling.
pub(super) fn decide(
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    members: &[Member],
    exited: usize,
    reason: &ExitReason,
) -> Decision {
    if !is_restarted(members[exited].restart, reason) {
        return match ends_supervisor(auto_shutdown, members, exited) {
            true => Decision::ShutDown,
            false => Decision::Leave,
        };
    }
    let group = match strategy {
        Strategy::OneForOne => exited..exited + 1,
        Strategy::OneForAll => 0..members.len(),
        Strategy::RestForOne => exited..members.len(),
    };
    let is_stopped =
        |index: &usize| *index != exited && members[*index].presence == Presence::Alive;
    let is_started = |index: &usize| {
        let Member {
            restart, presence, ..
        } = members[*index];
        match presence {
            Presence::Expected => true,
            Presence::Alive | Presence::Ended => restart != Restart::Temporary,
            Presence::Removed => false,
        }
    };
    Decision::Restart {
        stop: group.clone().rev().filter(is_stopped).collect(),
        start: group.filter(is_started).collect(),
    }
}

fn is_restarted(restart: Restart, reason: &ExitReason) -> bool {
    match restart {
        Restart::Permanent => true,
        Restart::Transient => *reason != ExitReason::Normal,
        Restart::Temporary => false,
    }
}

fn ends_supervisor(auto_shutdown: AutoShutdown, members: &[Member], exited: usize) -> bool {
    let is_left = |(index, member): (usize, &Member)| {
        index != exited
            && member.is_significant
            && matches!(member.presence, Presence::Alive | Presence::Expected)
    };
    members[exited].is_significant
        && match auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => !members.iter().enumerate().any(is_left),
        }
}

/// Whether a supervisor has no significant child left that it would live for.
pub(super) fn is_bereft(auto_shutdown: AutoShutdown, members: &[Member]) -> bool {
    let is_left = |member: &Member| {
        member.is_significant && matches!(member.presence, Presence::Alive | Presence::Expected)
    };
    auto_shutdown == AutoShutdown::AllSignificant && !members.iter().any(is_left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(restart: Restart, presence: Presence) -> Member {
        Member {
            restart,
            is_significant: false,
            presence,
        }
    }

    fn restart(stop: &[usize], start: &[usize]) -> Decision {
        Decision::Restart {
            stop: stop.to_vec(),
            start: start.to_vec(),
        }
    }

    #[test]
    fn siblings_stop_youngest_first_and_start_eldest_first() {
        let members = [member(Restart::Permanent, Presence::Alive); 4];
        let decide = |strategy| {
            let reason = ExitReason::Panicked;
            decide(strategy, AutoShutdown::Never, &members, 1, &reason)
        };
        assert_eq!(decide(Strategy::OneForOne), restart(&[], &[1]));
        assert_eq!(
            decide(Strategy::OneForAll),
            restart(&[3, 2, 0], &[0, 1, 2, 3])
        );
        assert_eq!(decide(Strategy::RestForOne), restart(&[3, 2], &[1, 2, 3]));
    }

    #[test]
    fn temporary_siblings_are_stopped_and_stay_down_and_ended_transient_ones_come_back() {
        let members = [
            member(Restart::Transient, Presence::Ended),
            member(Restart::Temporary, Presence::Alive),
            member(Restart::Permanent, Presence::Alive),
            member(Restart::Temporary, Presence::Removed),
            member(Restart::Temporary, Presence::Expected),
        ];
        let reason = ExitReason::Killed;
        let decision = decide(
            Strategy::OneForAll,
            AutoShutdown::Never,
            &members,
            2,
            &reason,
        );
        assert_eq!(decision, restart(&[1], &[0, 2, 4]));
    }

    #[test]
    fn a_significant_child_ends_its_supervisor_only_if_it_stays_down() {
        let significant = |restart, presence| Member {
            is_significant: true,
            ..member(restart, presence)
        };
        let failed = ExitReason::Failed("x".to_owned());
        let members = [
            significant(Restart::Transient, Presence::Alive),
            significant(Restart::Temporary, Presence::Alive),
            member(Restart::Permanent, Presence::Alive),
        ];
        let decide =
            |auto, exited, reason| decide(Strategy::OneForOne, auto, &members, exited, reason);
        let any = AutoShutdown::AnySignificant;
        assert_eq!(decide(any, 0, &ExitReason::Normal), Decision::ShutDown);
        assert_eq!(decide(any, 0, &failed), restart(&[], &[0]));
        assert_eq!(decide(any, 1, &failed), Decision::ShutDown);
        assert_eq!(decide(any, 2, &failed), restart(&[], &[2]));
        let (all, never) = (AutoShutdown::AllSignificant, AutoShutdown::Never);
        assert_eq!(decide(all, 0, &ExitReason::Normal), Decision::Leave);
        assert_eq!(decide(never, 0, &ExitReason::Normal), Decision::Leave);
    }

    #[test]
    fn the_last_significant_child_ends_a_supervisor_that_waits_for_all() {
        let significant = |presence| Member {
            is_significant: true,
            ..member(Restart::Transient, presence)
        };
        for (other, decision) in [
            (Presence::Ended, Decision::ShutDown),
            (Presence::Removed, Decision::ShutDown),
            (Presence::Expected, Decision::Leave),
        ] {
            let members = [significant(other), significant(Presence::Alive)];
            let all = AutoShutdown::AllSignificant;
            let decided = decide(Strategy::OneForOne, all, &members, 1, &ExitReason::Normal);
            assert_eq!(decided, decision);
        }
    }
}
