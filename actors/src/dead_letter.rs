//! Why an event was given up: the kind of failure, its branch, and every attempt at it.

use std::backtrace::Backtrace;
use std::sync::Arc;
use std::time::SystemTime;

/// What kind of failure made an event a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    /// The handler or the sink panicked.
    Panic,
    /// The handler reported an error.
    Error,
    /// The receiver did not answer in time.
    Timeout,
    /// The receiver refused the event for good.
    Rejected,
    /// No handler wants the event.
    Unroutable,
    /// A result was too long.
    Oversize,
    /// The event went through the router too often.
    Loop,
}

impl FailureClass {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Panic,
        Self::Error,
        Self::Timeout,
        Self::Rejected,
        Self::Unroutable,
        Self::Oversize,
        Self::Loop,
    ];

    /// The word used in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::Unroutable => "unroutable",
            Self::Oversize => "oversize",
            Self::Loop => "loop",
        }
    }
}

/// Attempts at one event that are kept with their times: the first half of them, and the last.
pub const ATTEMPTS_KEPT_MAX: usize = 16;
/// Bytes of a failure's reason; longer ones are cut.
pub const REASON_BYTES_MAX: usize = 4096;

/// One failed attempt at an event.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it failed.
    pub at: SystemTime,
    /// The kind of failure.
    pub class: FailureClass,
    /// The error's or the panic's message, of [`REASON_BYTES_MAX`] at most.
    pub reason: Arc<str>,
    /// Where its panic came from, if it is one and this was asked for. Symbols are looked up when it is shown.
    pub backtrace: Option<Arc<Backtrace>>,
}

impl Attempt {
    /// An attempt that has just failed.
    pub fn failed(class: FailureClass, reason: &str) -> Self {
        Self {
            at: SystemTime::now(),
            class,
            reason: cut(reason).into(),
            backtrace: None,
        }
    }

    /// The attempt with the backtrace of its panic.
    pub(crate) fn with_backtrace(mut self, backtrace: Option<Arc<Backtrace>>) -> Self {
        self.backtrace = backtrace;
        self
    }
}

/// The failed attempts at one event. The count is true; of many attempts, only the first and the last are kept.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    count: u32,
    kept: Vec<Attempt>,
}

impl Attempts {
    /// Attempts as they were kept.
    pub fn restored(count: u32, kept: Vec<Attempt>) -> Self {
        Self { count, kept }
    }

    /// Adds the latest attempt.
    pub fn add(&mut self, attempt: Attempt) {
        self.count = self.count.saturating_add(1);
        if self.kept.len() == ATTEMPTS_KEPT_MAX {
            self.kept.remove(ATTEMPTS_KEPT_MAX / 2);
        }
        self.kept.push(attempt);
    }

    /// Forgets them: the next event has none yet.
    pub fn clear(&mut self) {
        self.count = 0;
        self.kept.clear();
    }

    /// How many there were.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Those kept, the first one first.
    pub fn kept(&self) -> &[Attempt] {
        &self.kept
    }
}

/// Why one event was given up, and by which branch.
#[derive(Clone, Debug)]
pub struct Failure {
    /// `handler.NAME`, `sink.NAME` or `router`.
    pub branch: Arc<str>,
    /// The kind of failure.
    pub class: FailureClass,
    /// The error's or the panic's message, of [`REASON_BYTES_MAX`] at most.
    pub reason: Arc<str>,
    /// Every failed attempt; none for what is given up without one.
    pub attempts: Attempts,
    /// Where the last attempt's panic came from.
    pub backtrace: Option<Arc<Backtrace>>,
}

impl Failure {
    /// A failure at an event that was not tried (again).
    pub fn untried(branch: &str, class: FailureClass, reason: &str) -> Self {
        Self {
            branch: branch.into(),
            class,
            reason: cut(reason).into(),
            attempts: Attempts::default(),
            backtrace: None,
        }
    }

    /// What `attempts` ended in: the class and the reason are the last one's.
    pub fn after(branch: &Arc<str>, attempts: Attempts) -> Self {
        let last = attempts.kept().last().cloned();
        let last = last.unwrap_or_else(|| Attempt::failed(FailureClass::Error, "no reason given"));
        Self {
            branch: Arc::clone(branch),
            class: last.class,
            reason: last.reason,
            backtrace: last.backtrace,
            attempts,
        }
    }
}

/// The beginning of a reason that is too long.
fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_attempts_the_first_and_the_last_are_kept_and_all_are_counted() {
        let mut attempts = Attempts::default();
        for number in 0..100 {
            attempts.add(Attempt::failed(FailureClass::Error, &number.to_string()));
        }
        let kept: Vec<&str> = attempts
            .kept()
            .iter()
            .map(|attempt| &*attempt.reason)
            .collect();
        let expected: Vec<String> = (0..8)
            .chain(92..100)
            .map(|number| number.to_string())
            .collect();
        assert_eq!(
            (attempts.count(), kept),
            (100, expected.iter().map(String::as_str).collect())
        );
        let failure = Failure::after(&"handler.x".into(), attempts);
        assert_eq!(
            (failure.class, &*failure.reason),
            (FailureClass::Error, "99")
        );
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let long = "ä".repeat(REASON_BYTES_MAX);
        let attempt = Attempt::failed(FailureClass::Panic, &format!("x{long}"));
        assert_eq!(attempt.reason.len(), REASON_BYTES_MAX - 1);
        assert!(attempt.reason.ends_with('ä'));
    }
}
