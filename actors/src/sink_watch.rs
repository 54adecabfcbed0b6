//! Sinks under the watchdog: how one that does not return is seen, and told.
//!
//! A sink that hangs is not replaced, since it could write what its successor writes again. It is only reported.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actor_status::ActorState;
use crate::call::Call;
use crate::sink_stats::SinkStats;
use crate::stats::Registry;

/// How long one call of a sink may take before it is reported.
pub const SINK_HANG_TIMEOUT: Duration = Duration::from_secs(5);

/// A sink to watch.
pub struct WatchedSink {
    /// Its name.
    pub name: Arc<str>,
    /// Its path in the tree.
    pub path: String,
    /// Where its counts and its state are.
    pub registry: Arc<Registry>,
}

/// A sink, and what was seen of it the last time.
pub(crate) struct SinkWatch {
    sink: WatchedSink,
    stats: Arc<SinkStats>,
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    call: Option<(Call, Instant)>,
    is_hung: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    AsBefore,
    Hung,
    /// It goes on, so long after its call was first seen.
    Back(Duration),
}

impl Seen {
    fn look(&mut self, call: Option<Call>, now: Instant, late: Duration) -> Verdict {
        match (&mut self.call, call) {
            (Some((seen, since)), Some(call)) if *seen == call => {
                *since += late;
                let is_over = now.saturating_duration_since(*since) >= SINK_HANG_TIMEOUT;
                match is_over && !std::mem::replace(&mut self.is_hung, is_over) {
                    true => Verdict::Hung,
                    false => Verdict::AsBefore,
                }
            }
            (before, _) => {
                let before = std::mem::replace(before, call.map(|call| (call, now)));
                match (std::mem::take(&mut self.is_hung), before) {
                    (true, Some((_, since))) => Verdict::Back(now.saturating_duration_since(since)),
                    _ => Verdict::AsBefore,
                }
            }
        }
    }
}

impl SinkWatch {
    pub(crate) fn new(sink: WatchedSink) -> Self {
        Self {
            stats: sink.registry.sink(&sink.name),
            sink,
            seen: Seen::default(),
        }
    }

    pub(crate) fn is_of(&self, name: &str) -> bool {
        *self.sink.name == *name
    }

    /// Looks at the sink; the watchdog woke `late` itself.
    pub(crate) fn look(&mut self, now: Instant, late: Duration) {
        let WatchedSink {
            name,
            path,
            registry,
        } = &self.sink;
        match self.seen.look(self.stats.call.get(), now, late) {
            Verdict::AsBefore => {}
            Verdict::Hung => {
                self.stats.hangs.add(1);
                let status = registry.actors.of(path);
                status.change(ActorState::Running, ActorState::Hung);
                tracing::warn!(
                    sink = &**name,
                    limit = ?SINK_HANG_TIMEOUT,
                    "a sink hangs, its events wait until it returns"
                );
            }
            Verdict::Back(after) => {
                let status = registry.actors.of(path);
                status.change(ActorState::Hung, ActorState::Running);
                tracing::info!(sink = &**name, ?after, "a sink that hung goes on");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_takes_too_long_is_told_once_and_its_end_as_well() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        let tick = Duration::from_millis(50);
        let mut look = |call: Option<u64>, ticks: u32| {
            seen.look(
                call.map(Call::of_event),
                start + tick * ticks,
                Duration::ZERO,
            )
        };
        let limit = u32::try_from(SINK_HANG_TIMEOUT.as_millis() / tick.as_millis()).unwrap();
        let verdicts: Vec<Verdict> = (0..limit + 9).map(|ticks| look(Some(1), ticks)).collect();
        let news = |it: &&Verdict| **it != Verdict::AsBefore;
        assert_eq!(verdicts[limit as usize], Verdict::Hung);
        assert_eq!(verdicts.iter().filter(news).count(), 1);
        let back = Verdict::Back(tick * (limit + 9));
        assert_eq!(look(Some(3), limit + 9), back);
        assert_eq!(look(None, limit + 10), Verdict::AsBefore);
    }

    #[test]
    fn calls_that_follow_one_another_and_time_that_nobody_got_are_no_hang() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            let call = Some(Call::of_event(second));
            let verdict = seen.look(call, now, Duration::ZERO);
            assert_eq!(verdict, Verdict::AsBefore);
        }
        let stopped = Duration::from_secs(100);
        let now = start + Duration::from_secs(59) + stopped;
        let call = Some(Call::of_event(59));
        assert_eq!(seen.look(call, now, stopped), Verdict::AsBefore);
        let verdict = seen.look(call, now + SINK_HANG_TIMEOUT, Duration::ZERO);
        assert_eq!(verdict, Verdict::Hung);
    }
}
