//! A point with injections: decides for each event that passes what happens to it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::AbortActor;
use super::corruption::Corruption;
use super::draw;
use super::log::{FaultLog, Injected};
use super::plan::{FaultAction, Injection};
use crate::batch::EventBatch;
use crate::event::Event;

/// Events of which an injection remembers at one point that they had their fault; beyond, the oldest may have it again.
const SPENT_EVENTS_MAX: usize = 1_048_576;

/// A named point of the path with the injections that are meant for it.
#[derive(Debug)]
pub struct FaultPoint {
    name: String,
    armed: Vec<Armed>,
    log: Arc<FaultLog>,
    started: Instant,
}

/// One injection at this point.
#[derive(Debug)]
struct Armed {
    /// Its place in the plan.
    number: usize,
    injection: Injection,
    salt: u64,
    /// How often it happened, at all points.
    happened: Arc<AtomicU64>,
    /// Locked, because lanes share the point, and a lane's replacement goes on where the lane was.
    state: Mutex<ArmedState>,
}

#[derive(Debug, Default)]
struct ArmedState {
    turns: FxHashMap<usize, Turn>,
    spent: Spent,
    /// When the next event may pass a point that is slow.
    next: Duration,
}

/// How many events a lane has counted, and which was the last.
#[derive(Debug, Default)]
struct Turn {
    count: u64,
    last: u64,
}

#[derive(Debug, Default)]
struct Spent {
    draws: FxHashSet<u64>,
    order: VecDeque<u64>,
}

impl Spent {
    /// Whether it is new.
    fn insert(&mut self, draw: u64) -> bool {
        let is_new = self.draws.insert(draw);
        if is_new {
            if self.order.len() == SPENT_EVENTS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.draws.remove(&oldest);
            }
            self.order.push_back(draw);
        }
        is_new
    }
}

impl Armed {
    fn state(&self) -> MutexGuard<'_, ArmedState> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the fault happens to this event now. Counts the event if it needs to.
    fn strikes(
        &self,
        event: &Event<'_>,
        identity: u64,
        lane: usize,
        elapsed: Duration,
    ) -> Option<u64> {
        let when = &self.injection.when;
        let is_nth = when.every.is_none_or(|every| {
            let mut state = self.state();
            let turn = state.turns.entry(lane).or_default();
            // An event that is tried again at once is no other event.
            if turn.count == 0 || turn.last != identity {
                turn.count += 1;
                turn.last = identity;
            }
            turn.count.is_multiple_of(every)
        });
        let draw = draw::draw(self.salt, identity);
        let is_hit = is_nth
            && elapsed >= when.from
            && when.until.is_none_or(|until| elapsed < until)
            && when
                .probability
                .is_none_or(|probability| draw::is_within(draw, probability))
            && when.only.holds(event);
        if !is_hit || matches!(self.injection.action, FaultAction::Slow(_)) {
            return is_hit.then_some(draw);
        }
        if !when.sticky && !self.state().spent.insert(draw) {
            return None;
        }
        let has_left = |happened: u64| {
            when.times
                .is_none_or(|times| happened < times)
                .then(|| happened + 1)
        };
        self.happened
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_left)
            .is_ok()
            .then_some(draw)
    }

    /// How long the event has to wait so that no more than `rate` pass in a second.
    fn queue(&self, rate: f64, elapsed: Duration) -> Duration {
        let mut state = self.state();
        let due = state.next.max(elapsed);
        state.next = due + Duration::from_secs_f64(1.0 / rate);
        due - elapsed
    }
}

/// What happens to an event at a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strike {
    /// The thread is blocked for so long.
    pub(crate) hang: Duration,
    /// The event takes so much longer.
    pub(crate) delay: Duration,
    /// The event waits for its turn.
    pub(crate) queue: Duration,
    pub(crate) corruption: Option<Corruption>,
    pub(crate) end: Option<End>,
}

/// How the work on an event ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// `late`: after the work has been done.
    Panic {
        late: bool,
    },
    Error {
        retryable: bool,
    },
    AbortActor,
}

impl Strike {
    /// What happens to several events that are handled together.
    pub(crate) fn add(&mut self, other: Self) {
        self.hang += other.hang;
        self.delay += other.delay;
        self.queue = self.queue.max(other.queue);
        self.end = self.end.or(other.end);
    }

    /// How long the event takes longer, without blocking anybody.
    pub(crate) fn pause(&self) -> Duration {
        self.delay.max(self.queue)
    }

    /// Hangs, as a broken component does.
    pub(crate) fn hang(&self) {
        if !self.hang.is_zero() {
            std::thread::sleep(self.hang);
        }
    }

    /// Hangs and takes its time, where there is no other way than to block the thread.
    pub(crate) fn block(&self) {
        let all = self.hang + self.pause();
        if !all.is_zero() {
            std::thread::sleep(all);
        }
    }
}

impl FaultPoint {
    pub(super) fn new(
        name: &str,
        seed: u64,
        injections: impl Iterator<Item = (usize, Injection, Arc<AtomicU64>)>,
        log: Arc<FaultLog>,
        started: Instant,
    ) -> Option<Arc<Self>> {
        let arm = |(number, injection, happened)| Armed {
            number,
            injection,
            salt: draw::salt(seed, number, name),
            happened,
            state: Mutex::default(),
        };
        let armed: Vec<Armed> = injections.map(arm).collect();
        (!armed.is_empty()).then(|| {
            Arc::new(Self {
                name: name.to_owned(),
                armed,
                log,
                started,
            })
        })
    }

    /// Whether any fault at this point holds its thread up.
    pub(crate) fn takes_time(&self) -> bool {
        let mut actions = self.armed.iter().map(|armed| armed.injection.action);
        actions.any(FaultAction::takes_time)
    }

    /// Whether any fault at this point blocks its thread.
    pub(crate) fn hangs(&self) -> bool {
        let mut actions = self.armed.iter().map(|armed| armed.injection.action);
        actions.any(|action| matches!(action, FaultAction::Hang(_)))
    }

    /// Decides what happens to the event now, counts it and logs it. Allocates only where something does.
    pub(crate) fn strike(&self, event: &Event<'_>, lane: Option<usize>) -> Strike {
        self.decide(event, lane, self.started.elapsed())
    }

    /// As [`FaultPoint::strike`], so long after the start.
    pub(crate) fn decide(
        &self,
        event: &Event<'_>,
        lane: Option<usize>,
        elapsed: Duration,
    ) -> Strike {
        let identity = draw::identity(event);
        let mut strike = Strike::default();
        for armed in &self.armed {
            // What an ended attempt did not come to is left for the next one.
            if strike.end.is_some() {
                break;
            }
            let Some(draw) = armed.strikes(event, identity, lane.unwrap_or_default(), elapsed)
            else {
                continue;
            };
            let action = armed.injection.action;
            match action {
                FaultAction::Panic => {
                    strike.end = Some(End::Panic {
                        late: draw::further(draw) & 1 == 1,
                    });
                }
                FaultAction::Error { retryable } => strike.end = Some(End::Error { retryable }),
                FaultAction::AbortActor => strike.end = Some(End::AbortActor),
                FaultAction::Hang(time) => strike.hang += time,
                FaultAction::Delay(time) => strike.delay += time,
                FaultAction::Slow(rate) => {
                    let wait = armed.queue(rate, elapsed);
                    strike.queue = strike.queue.max(wait);
                    if !wait.is_zero() {
                        self.log.slowed(&self.name, armed.number);
                    }
                    continue;
                }
                FaultAction::Corrupt => {
                    let corruption = Corruption::choose(event, draw::further(draw));
                    if corruption.is_none() {
                        continue;
                    }
                    strike.corruption = corruption;
                }
            }
            self.log.injected(&Injected {
                at: &self.name,
                injection: armed.number,
                action: action.as_str(),
                event,
                lane,
            });
        }
        strike
    }

    /// Decides for all events of a batch, blocks or panics if that is what shall be, and tells how long to wait.
    pub(crate) fn strike_batch(&self, batch: &EventBatch) -> Option<Duration> {
        let mut all = Strike::default();
        for event in batch.iter() {
            all.add(self.strike(&event, None));
            if all.end.is_some() {
                break;
            }
        }
        all.hang();
        match all.end {
            Some(End::AbortActor) => abort_actor(),
            Some(_) => self.panic(),
            None => Some(all.pause()).filter(|pause| !pause.is_zero()),
        }
    }

    /// What the injected errors and panics say.
    pub(crate) fn reason(&self, what: &str) -> String {
        format!("injected {what} at {}", self.name)
    }

    /// Panics.
    pub(crate) fn panic(&self) -> ! {
        panic!("{}", self.reason("panic"))
    }
}

/// Ends the whole actor: unlike a panic, no guard keeps it.
pub(crate) fn abort_actor() -> ! {
    // Not a panic of anybody's code, so the panic hook has nothing to report.
    std::panic::resume_unwind(Box::new(AbortActor))
}
