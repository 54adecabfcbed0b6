//! The watchdog: an OS thread that finds lanes whose handler does not return, and has them go on without it on other threads.
//!
//! A handler that blocks its thread for a while gets the thread for itself: the other lanes move away. One that exceeds its
//! deadline is hung: its lane moves away too, and the thread is given up. Sinks that do not return are only reported.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use actix_rt::System;

use crate::call::Call;
use crate::lane_slot::LaneSlot;
use crate::sink_watch::SinkWatch;
use crate::stats::HandlerStats;
use crate::supervision::ExitReason;
use crate::watch_list::{Change, WatchList};
use crate::worker::LeakedThreads;

/// Time between two looks at all lanes.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a handler may block its thread before the thread's other lanes move away.
pub const NEIGHBOUR_TIMEOUT: Duration = Duration::from_millis(250);
/// Threads that hang at the same time; at this number the process cannot go on.
pub const LEAKED_THREADS_MAX: usize = 64;

/// A lane to watch.
pub struct Watched {
    /// Its place.
    pub slot: Arc<LaneSlot>,
    /// The handler's name.
    pub handler: Arc<str>,
    /// The handler's counts.
    pub stats: Arc<HandlerStats>,
    /// The lane's number.
    pub lane: usize,
    /// How long one call of the handler may take.
    pub deadline: Duration,
}

/// The running watchdog; it ends when this is dropped.
pub struct Watchdog {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches the lanes and sinks of the list. Calls `exhausted` once if too many threads hang at the same time.
    ///
    /// # Errors
    /// If the thread cannot be started.
    ///
    /// # Panics
    /// Outside of an actix system.
    pub fn start(
        list: WatchList,
        leaked: Arc<LeakedThreads>,
        exhausted: impl FnOnce(String) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::sync_channel(0);
        let mut round = Round {
            list,
            seen: Vec::new(),
            lanes: Vec::new(),
            sinks: Vec::new(),
            leaked,
            exhausted: Some(Box::new(exhausted)),
        };
        let system = System::current();
        let watch = move || {
            // The threads that take the place of hung ones are the system's.
            System::set_current(system);
            let mut last = Instant::now();
            while stopped.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let now = Instant::now();
                // When it woke late itself (suspended, stopped, no CPU), the lanes had no time either.
                let late = (now - last).saturating_sub(LOOK_INTERVAL);
                last = now;
                // It panics where no thread can be had.
                let look = AssertUnwindSafe(|| round.look(now, late));
                if catch_unwind(look).is_err() {
                    round.give_up("the watchdog cannot replace a hung thread".to_owned());
                    return;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(watch)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the watchdog panicked");
        }
    }
}

/// All that is watched, and what was seen of it the last time.
struct Round {
    list: WatchList,
    lanes: Vec<Watched>,
    seen: Vec<Seen>,
    sinks: Vec<SinkWatch>,
    leaked: Arc<LeakedThreads>,
    exhausted: Option<Box<dyn FnOnce(String) + Send>>,
}

/// One lane's call at the last look.
#[derive(Debug, Default)]
struct Seen {
    call: Option<(Call, Instant)>,
    is_alone: bool,
}

/// What a look at a lane says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    /// It keeps the others of its thread waiting.
    Blocks,
    Hung(Call),
}

impl Seen {
    fn look(
        &mut self,
        call: Option<Call>,
        now: Instant,
        late: Duration,
        deadline: Duration,
    ) -> Verdict {
        let since = match (&mut self.call, call) {
            (_, None) => {
                *self = Self::default();
                return Verdict::Well;
            }
            (Some((seen, since)), Some(call)) if *seen == call => {
                *since += late;
                *since
            }
            (_, Some(call)) => {
                self.call = Some((call, now));
                self.is_alone = false;
                return Verdict::Well;
            }
        };
        let busy = now.saturating_duration_since(since);
        match call {
            Some(call) if busy >= deadline => {
                *self = Self::default();
                Verdict::Hung(call)
            }
            _ if busy >= NEIGHBOUR_TIMEOUT && !std::mem::replace(&mut self.is_alone, true) => {
                Verdict::Blocks
            }
            _ => Verdict::Well,
        }
    }
}

impl Round {
    fn follow(&mut self, change: Change) {
        match change {
            Change::Lane(lane) => {
                self.lanes.push(lane);
                self.seen.push(Seen::default());
            }
            Change::NoLane(slot) => {
                let mut lanes = self.lanes.iter();
                if let Some(gone) = lanes.position(|lane| Arc::ptr_eq(&lane.slot, &slot)) {
                    self.lanes.swap_remove(gone);
                    self.seen.swap_remove(gone);
                }
            }
            Change::Sink(sink) => self.sinks.push(SinkWatch::new(sink)),
            Change::NoSink(name) => self.sinks.retain(|sink| !sink.is_of(&name)),
        }
    }

    fn look(&mut self, now: Instant, late: Duration) {
        for change in self.list.take() {
            self.follow(change);
        }
        for number in 0..self.lanes.len() {
            let lane = &self.lanes[number];
            match self.seen[number].look(lane.slot.call(), now, late, lane.deadline) {
                Verdict::Well => {}
                Verdict::Blocks => self.move_neighbours(number),
                Verdict::Hung(call) => {
                    self.move_neighbours(number);
                    self.replace(number, call);
                }
            }
        }
        for sink in &mut self.sinks {
            sink.look(now, late);
        }
    }

    /// Leaves the thread to the lane that blocks it.
    fn move_neighbours(&self, number: usize) {
        let blocked = self.lanes[number].slot.worker();
        let mut fresh = None;
        for (_, lane) in self
            .lanes
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != number)
        {
            if !Arc::ptr_eq(&lane.slot.worker(), &blocked) {
                continue;
            }
            let fresh = fresh.get_or_insert_with(|| blocked.another());
            lane.slot.move_to(fresh.clone(), ExitReason::Displaced);
        }
        if fresh.is_some() {
            tracing::warn!(
                handler = &*self.lanes[number].handler,
                lane = self.lanes[number].lane,
                "a handler blocks its thread, the other lanes go on with another one"
            );
        }
    }

    /// Gives the hung thread up and has the lane go on with another one.
    fn replace(&mut self, number: usize, call: Call) {
        let lane = &self.lanes[number];
        let hung = lane.slot.worker();
        let fresh = hung.another();
        let reason = ExitReason::Hung(lane.deadline);
        if !lane.slot.leave_behind(call, fresh.clone(), reason) {
            fresh.stop();
            return;
        }
        hung.give_up();
        lane.stats.hangs.add(1);
        lane.stats.errors.add(1);
        tracing::error!(
            handler = &*lane.handler,
            lane = lane.lane,
            deadline = ?lane.deadline,
            "a handler hangs, its lane goes on without it"
        );
        let leaked = self.leaked.count();
        if leaked >= LEAKED_THREADS_MAX {
            let reason = format!(
                "{leaked} threads hang in handlers, the last one in `{}`",
                lane.handler
            );
            self.give_up(reason);
        }
    }

    fn give_up(&mut self, reason: String) {
        if let Some(exhausted) = self.exhausted.take() {
            exhausted(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(1);

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    fn look(seen: &mut Seen, call: Option<u64>, now: Instant) -> Verdict {
        seen.look(call.map(Call::of_event), now, Duration::ZERO, DEADLINE)
    }

    #[test]
    fn a_call_that_does_not_end_blocks_at_first_and_then_hangs_once() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        let verdicts: Vec<_> = (0..=30)
            .map(|tick| look(&mut seen, Some(7), after(start, tick * 50)))
            .collect();
        let first = |verdict| verdicts.iter().position(|it| *it == verdict);
        assert_eq!(first(Verdict::Blocks), Some(5));
        assert_eq!(first(Verdict::Hung(Call::of_event(7))), Some(20));
        let news = verdicts.iter().filter(|it| **it != Verdict::Well);
        // The lane's next actor starts with no call; as long as it is not there, the same one is no news for a while.
        assert_eq!(news.count(), 3);
    }

    #[test]
    fn calls_that_follow_one_another_never_hang() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        for tick in 0..1_000 {
            let verdict = look(&mut seen, Some(tick / 3), after(start, tick * 50));
            assert_eq!(verdict, Verdict::Well);
        }
    }

    #[test]
    fn a_lane_is_not_blamed_for_time_that_the_watchdog_did_not_get_either() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        assert_eq!(look(&mut seen, Some(1), start), Verdict::Well);
        let stopped = Duration::from_secs(60);
        let now = start + stopped + LOOK_INTERVAL;
        let verdict = seen.look(Some(Call::of_event(1)), now, stopped, DEADLINE);
        assert_eq!(verdict, Verdict::Well);
        let verdict = seen.look(
            Some(Call::of_event(1)),
            now + DEADLINE,
            Duration::ZERO,
            DEADLINE,
        );
        assert_eq!(verdict, Verdict::Hung(Call::of_event(1)));
    }
}
