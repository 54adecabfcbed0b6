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
/// Dead letters without a handled event in between that are no accident any more, if they took `min_events` attempts.
pub const DEAD_LETTERS_IN_A_ROW_MIN: u64 = 10;

/// When a breaker opens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSpec {
    /// The share of dead letters among the handled events of the window above which it opens, 0 to 1.
    pub dead_letter_ratio: f64,
    /// The time that is looked at.
    pub window: Duration,
    /// It stays closed below so many events in the window, unless as many attempts in a row fail: a handler that breaks
    /// after good times is not outvoted by them.
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

/// What has become of some events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcomes {
    /// Events that were handled before the dead letters.
    pub(crate) handled: u64,
    pub(crate) dead_letters: u64,
    /// Failed attempts at the dead letters.
    pub(crate) attempts: u64,
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

    /// Counts what has become of events.
    pub(crate) fn count(&self, now: Instant, outcomes: Outcomes) -> Change {
        let change = self.lock().count(now, outcomes);
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
    in_a_row: Row,
    phase: Phase,
}

/// Dead letters since an event was handled.
#[derive(Debug, Default)]
struct Row {
    dead_letters: u64,
    /// Failed attempts at them.
    attempts: u64,
    last: Option<Instant>,
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
            in_a_row: Row::default(),
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

    fn count(&mut self, now: Instant, outcomes: Outcomes) -> Change {
        let Phase::Closed = self.phase else {
            // What was under way when it opened says nothing new.
            return Change::Nothing;
        };
        let Outcomes {
            handled,
            dead_letters,
            attempts,
        } = outcomes;
        self.add_to_window(now, handled + dead_letters, dead_letters);
        let is_over = |last: Instant| now.duration_since(last) >= self.spec.window;
        if handled > 0 || self.in_a_row.last.is_some_and(is_over) {
            self.in_a_row = Row::default();
        }
        self.in_a_row.dead_letters += dead_letters;
        self.in_a_row.attempts += attempts;
        self.in_a_row.last = Some(now);
        if self.is_window_bad() || self.is_row_bad() {
            return self.open(now, BREAKER_PAUSE_MIN);
        }
        Change::Nothing
    }

    fn add_to_window(&mut self, now: Instant, events: u64, dead_letters: u64) {
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
    }

    fn is_window_bad(&self) -> bool {
        let sum = |of: fn(&(Instant, u64, u64)) -> u64| self.window.iter().map(of).sum::<u64>();
        let (events, dead_letters) = (sum(|part| part.1), sum(|part| part.2));
        let is_above = dead_letters as f64 > self.spec.dead_letter_ratio * events as f64;
        events >= self.spec.min_events && is_above
    }

    fn is_row_bad(&self) -> bool {
        let Row {
            dead_letters,
            attempts,
            ..
        } = self.in_a_row;
        let is_enough = attempts >= self.spec.min_events;
        // A ratio of 1 is never passed.
        is_enough && dead_letters >= DEAD_LETTERS_IN_A_ROW_MIN && self.spec.dead_letter_ratio < 1.0
    }

    fn open(&mut self, now: Instant, pause: Duration) -> Change {
        self.window.clear();
        self.in_a_row = Row::default();
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

    /// That many events, of which the last ones are dead letters at the first attempt.
    fn of(events: u64, dead_letters: u64) -> Outcomes {
        Outcomes {
            handled: events - dead_letters,
            dead_letters,
            attempts: dead_letters,
        }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn opens_at_the_least_number_of_events_if_all_are_dead_letters() {
        let (now, mut state) = (Instant::now(), State::new(SPEC));
        for _ in 0..49 {
            assert_eq!(state.count(now, of(1, 1)), Change::Nothing);
        }
        assert_eq!(
            state.count(now, of(1, 1)),
            Change::Opened(BREAKER_PAUSE_MIN)
        );
        assert_eq!(state.permit(now), Permit::None(BREAKER_PAUSE_MIN));
    }

    #[test]
    fn stays_closed_at_the_ratio_and_opens_above_it() {
        let (now, mut state) = (Instant::now(), State::new(SPEC));
        for _ in 0..500 {
            assert_eq!(state.count(now, of(2, 1)), Change::Nothing);
        }
        assert_eq!(
            state.count(now, of(1, 1)),
            Change::Opened(BREAKER_PAUSE_MIN)
        );
    }

    #[test]
    fn a_ratio_of_one_never_opens() {
        let spec = BreakerSpec {
            dead_letter_ratio: 1.0,
            ..SPEC
        };
        let mut state = State::new(spec);
        assert_eq!(
            state.count(Instant::now(), of(1_000, 1_000)),
            Change::Nothing
        );
    }

    #[test]
    fn a_handler_that_breaks_after_good_times_is_not_outvoted_by_them() {
        let (now, mut state) = (Instant::now(), State::new(SPEC));
        assert_eq!(state.count(now, of(100_000, 0)), Change::Nothing);
        let dead = Outcomes {
            handled: 0,
            dead_letters: 1,
            attempts: 3,
        };
        for _ in 0..16 {
            assert_eq!(state.count(now, dead), Change::Nothing);
        }
        assert_eq!(state.count(now, dead), Change::Opened(BREAKER_PAUSE_MIN));
    }

    #[test]
    fn a_few_events_that_are_tried_very_often_do_not_open_it() {
        let (now, mut state) = (Instant::now(), State::new(SPEC));
        let dead = Outcomes {
            handled: 0,
            dead_letters: 1,
            attempts: 1_000,
        };
        for _ in 1..DEAD_LETTERS_IN_A_ROW_MIN {
            assert_eq!(state.count(now, dead), Change::Nothing);
        }
        assert_eq!(state.count(now, of(1, 0)), Change::Nothing);
        assert_eq!(state.count(now, dead), Change::Nothing);
    }

    #[test]
    fn forgets_what_is_older_than_the_window() {
        let (start, mut state) = (Instant::now(), State::new(SPEC));
        assert_eq!(state.count(start, of(40, 40)), Change::Nothing);
        assert_eq!(state.count(after(start, 11), of(40, 40)), Change::Nothing);
        assert_ne!(state.count(after(start, 12), of(10, 10)), Change::Nothing);
    }

    #[test]
    fn after_the_pause_one_lane_probes_and_the_pause_doubles_until_it_succeeds() {
        let (start, mut state) = (Instant::now(), State::new(SPEC));
        state.count(start, of(50, 50));
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
        assert_eq!(state.count(after(start, 3), of(49, 49)), Change::Nothing);
    }

    #[test]
    fn a_probe_that_is_never_heard_of_gives_way_to_another() {
        let (start, mut state) = (Instant::now(), State::new(SPEC));
        state.count(start, of(50, 50));
        assert_eq!(state.permit(after(start, 1)), Permit::Probe);
        assert_eq!(state.permit(after(start, 2)), Permit::Probe);
    }

    #[test]
    fn the_pause_has_a_maximum() {
        let (start, mut state) = (Instant::now(), State::new(SPEC));
        state.count(start, of(50, 50));
        for _ in 0..10 {
            state.probed(start, false);
        }
        assert_eq!(
            state.probed(start, false),
            Change::Opened(BREAKER_PAUSE_MAX)
        );
    }
}
