//! The breaker of a handler: pauses it when too many of its events become dead letters, and lets one event try it again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The first pause; each probe that fails doubles the next one.
pub const BREAKER_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
pub const BREAKER_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The window is counted in so many parts, and forgotten part by part.
const WINDOW_PARTS: u32 = 10;

/// When a breaker opens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSpec {
    /// The share of dead letters among the handled events of the window above which it opens, 0 to 1.
    pub dead_letter_ratio: f64,
    /// The time that is looked at.
    pub window: Duration,
    /// It stays closed below so many events in the window.
    pub min_events: u64,
}

/// One handler's breaker, shared by its lanes: what one of them sees, pauses all.
#[derive(Debug)]
pub struct Breaker {
    /// Looked at by all lanes before each run of events.
    is_closed: AtomicBool,
    state: Mutex<State>,
    closed: Notify,
}

/// What a lane may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// Go on.
    All,
    /// Try one event, and tell how it went.
    Probe,
    /// Ask again after that time, or when the breaker closes.
    None(Duration),
}

/// What a count has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// All lanes pause for that time.
    Opened(Duration),
    Closed,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(spec: BreakerSpec) -> Self {
        Self {
            is_closed: AtomicBool::new(true),
            state: Mutex::new(State::new(spec)),
            closed: Notify::new(),
        }
    }

    /// A glance without the lock.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn permit(&self, now: Instant) -> Permit {
        match self.is_closed() {
            true => Permit::All,
            false => self.lock().permit(now),
        }
    }

    /// Counts events that were handled, and those of them that became dead letters.
    pub(crate) fn count(&self, now: Instant, events: u64, dead_letters: u64) -> Change {
        let change = self.lock().count(now, events, dead_letters);
        self.follow(change)
    }

    /// The event of a [`Permit::Probe`] was handled, or became a dead letter.
    pub(crate) fn probed(&self, now: Instant, is_handled: bool) -> Change {
        let change = self.lock().probed(now, is_handled);
        self.follow(change)
    }

    /// Resolves after that time, or when the breaker closes.
    pub(crate) async fn wait(&self, time: Duration) {
        let closed = self.closed.notified();
        tokio::pin!(closed);
        // Registered before the look, so that a close in between is not missed.
        closed.as_mut().enable();
        if !self.is_closed() {
            // Either way the lane asks again.
            drop(tokio::time::timeout(time, closed).await);
        }
    }

    fn follow(&self, change: Change) -> Change {
        match change {
            Change::Nothing => {}
            Change::Opened(_) => self.is_closed.store(false, Ordering::Release),
            Change::Closed => {
                self.is_closed.store(true, Ordering::Release);
                self.closed.notify_waiters();
            }
        }
        change
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State {
    spec: BreakerSpec,
    /// Each part's start, events and dead letters; the oldest first.
    window: VecDeque<(Instant, u64, u64)>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    /// Nothing is handled until then.
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One lane tries one event. If nothing is heard of it by then (its actor may have died), another one may.
    Probing {
        until: Instant,
        pause: Duration,
    },
}

impl State {
    fn new(spec: BreakerSpec) -> Self {
        Self {
            spec,
            window: VecDeque::new(),
            phase: Phase::Closed,
        }
    }

    fn permit(&mut self, now: Instant) -> Permit {
        match self.phase {
            Phase::Closed => Permit::All,
            Phase::Open { until, pause } | Phase::Probing { until, pause } if now >= until => {
                self.phase = Phase::Probing {
                    until: now + pause,
                    pause,
                };
                Permit::Probe
            }
            Phase::Open { until, .. } | Phase::Probing { until, .. } => Permit::None(until - now),
        }
    }

    fn count(&mut self, now: Instant, events: u64, dead_letters: u64) -> Change {
        let Phase::Closed = self.phase else {
            // What was under way when it opened says nothing new.
            return Change::Nothing;
        };
        let is_over = |start: Instant| now.duration_since(start) >= self.spec.window;
        while self.window.front().is_some_and(|part| is_over(part.0)) {
            self.window.pop_front();
        }
        let part = self.spec.window / WINDOW_PARTS;
        match self.window.back_mut() {
            Some(last) if now.duration_since(last.0) < part => {
                last.1 += events;
                last.2 += dead_letters;
            }
            _ => self.window.push_back((now, events, dead_letters)),
        }
        let sum = |of: fn(&(Instant, u64, u64)) -> u64| self.window.iter().map(of).sum::<u64>();
        let (events, dead_letters) = (sum(|part| part.1), sum(|part| part.2));
        let is_bad = dead_letters as f64 > self.spec.dead_letter_ratio * events as f64;
        if events < self.spec.min_events || !is_bad {
            return Change::Nothing;
        }
        self.open(now, BREAKER_PAUSE_MIN)
    }

    fn open(&mut self, now: Instant, pause: Duration) -> Change {
        self.window.clear();
        self.phase = Phase::Open {
            until: now + pause,
            pause,
        };
        Change::Opened(pause)
    }

    fn probed(&mut self, now: Instant, is_handled: bool) -> Change {
        match self.phase {
            Phase::Closed => Change::Nothing,
            Phase::Open { .. } | Phase::Probing { .. } if is_handled => {
                self.phase = Phase::Closed;
                Change::Closed
            }
            Phase::Open { pause, .. } | Phase::Probing { pause, .. } => {
                self.open(now, (pause * 2).min(BREAKER_PAUSE_MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: BreakerSpec = BreakerSpec {
        dead_letter_ratio: 0.5,
        window: Duration::from_secs(10),
        min_events: 50,
    };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn opens_at_the_least_number_of_events_if_all_are_dead_letters() {
        let (now, mut state) = (Instant::now(), State::new(SPEC));
        for _ in 0..49 {
            assert_eq!(state.count(now, 1, 1), Change::Nothing);
        }
        assert_eq!(state.count(now, 1, 1), Change::Opened(BREAKER_PAUSE_MIN));
        assert_eq!(state.permit(now), Permit::None(BREAKER_PAUSE_MIN));
    }

    #[test]
    fn stays_closed_at_the_ratio_and_opens_above_it() {
        let (now, mut state) = (Instant::now(), State::new(SPEC));
        assert_eq!(state.count(now, 1_000, 500), Change::Nothing);
        assert_eq!(state.count(now, 1, 1), Change::Opened(BREAKER_PAUSE_MIN));
    }

    #[test]
    fn a_ratio_of_one_never_opens() {
        let spec = BreakerSpec {
            dead_letter_ratio: 1.0,
            ..SPEC
        };
        let mut state = State::new(spec);
        assert_eq!(state.count(Instant::now(), 1_000, 1_000), Change::Nothing);
    }

    #[test]
    fn forgets_what_is_older_than_the_window() {
        let (start, mut state) = (Instant::now(), State::new(SPEC));
        assert_eq!(state.count(start, 40, 40), Change::Nothing);
        assert_eq!(state.count(after(start, 11), 40, 40), Change::Nothing);
        assert_ne!(state.count(after(start, 12), 10, 10), Change::Nothing);
    }

    #[test]
    fn after_the_pause_one_lane_probes_and_the_pause_doubles_until_it_succeeds() {
        let (start, mut state) = (Instant::now(), State::new(SPEC));
        state.count(start, 50, 50);
        assert_eq!(state.permit(after(start, 1)), Permit::Probe);
        assert_eq!(
            state.permit(after(start, 1)),
            Permit::None(BREAKER_PAUSE_MIN)
        );
        let longer = Change::Opened(Duration::from_secs(2));
        assert_eq!(state.probed(after(start, 1), false), longer);
        assert_eq!(state.permit(after(start, 3)), Permit::Probe);
        assert_eq!(state.probed(after(start, 3), true), Change::Closed);
        assert_eq!(state.permit(after(start, 3)), Permit::All);
        assert_eq!(state.count(after(start, 3), 49, 49), Change::Nothing);
    }

    #[test]
    fn a_probe_that_is_never_heard_of_gives_way_to_another() {
        let (start, mut state) = (Instant::now(), State::new(SPEC));
        state.count(start, 50, 50);
        assert_eq!(state.permit(after(start, 1)), Permit::Probe);
        assert_eq!(state.permit(after(start, 2)), Permit::Probe);
    }

    #[test]
    fn the_pause_has_a_maximum() {
        let (start, mut state) = (Instant::now(), State::new(SPEC));
        state.count(start, 50, 50);
        for _ in 0..10 {
            state.probed(start, false);
        }
        assert_eq!(
            state.probed(start, false),
            Change::Opened(BREAKER_PAUSE_MAX)
        );
    }
}
