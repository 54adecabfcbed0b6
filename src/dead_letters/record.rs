//! The form of dead letters in the log: two lines each, what is known of it as JSON, and the event as it came.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use veltrix_actors::{Attempt, Attempts, DeadLetter, Failure, FailureClass, TypeCache};

/// Tags records of dead letters.
pub(super) const LETTERS: &str = "letters";
/// Tags records that say which dead letters are gone.
pub(super) const GONE: &str = "gone";

/// The first line. Its names are a format: what is added must be optional.
#[derive(Serialize, Deserialize)]
struct Known<'a> {
    sequence: u64,
    at_ms: u64,
    #[serde(borrow)]
    branch: Cow<'a, str>,
    #[serde(borrow)]
    class: Cow<'a, str>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    attempt_count: u32,
    #[serde(borrow)]
    attempts: Vec<KnownAttempt<'a>>,
    #[serde(borrow)]
    config_version: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct KnownAttempt<'a> {
    at_ms: u64,
    #[serde(borrow)]
    class: Cow<'a, str>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
}

/// Appends the two lines of a dead letter.
pub(super) fn encode(letter: &DeadLetter, text: &mut Vec<u8>) {
    let failure = &letter.failure;
    let attempts = failure.attempts.kept().iter().map(|attempt| KnownAttempt {
        at_ms: to_ms(attempt.at),
        class: attempt.class.as_str().into(),
        reason: Cow::Borrowed(&attempt.reason),
    });
    let known = Known {
        sequence: letter.sequence,
        at_ms: to_ms(letter.at),
        branch: Cow::Borrowed(&failure.branch),
        class: failure.class.as_str().into(),
        reason: Cow::Borrowed(&failure.reason),
        attempt_count: failure.attempts.count(),
        attempts: attempts.collect(),
        config_version: Cow::Borrowed(&letter.config_version),
    };
    serde_json::to_writer(&mut *text, &known).expect("strings and numbers are JSON");
    text.push(b'\n');
    text.extend_from_slice(letter.event().line().as_bytes());
    text.push(b'\n');
}

/// The dead letters of a record, in order; why not, for those that cannot be read.
pub(super) fn decode<'a>(
    payload: &'a str,
    types: &'a mut TypeCache,
) -> impl Iterator<Item = Result<DeadLetter, String>> + 'a {
    let mut lines = payload.lines();
    std::iter::from_fn(move || {
        let (known, line) = (lines.next()?, lines.next()?);
        Some(restore(known, line, types))
    })
}

fn restore(known: &str, line: &str, types: &mut TypeCache) -> Result<DeadLetter, String> {
    let known: Known = serde_json::from_str(known).map_err(|error| error.to_string())?;
    let attempts = known.attempts.into_iter().map(|attempt| Attempt {
        at: from_ms(attempt.at_ms),
        class: class(&attempt.class),
        reason: attempt.reason.into(),
        backtrace: None,
    });
    let failure = Failure {
        branch: known.branch.into(),
        class: class(&known.class),
        reason: known.reason.into(),
        attempts: Attempts::restored(known.attempt_count, attempts.collect()),
        backtrace: None,
    };
    let number = (known.sequence, from_ms(known.at_ms));
    DeadLetter::restored(number, failure, known.config_version.into(), line, types)
        .map_err(|error| error.to_string())
}

/// The numbers as ranges, the text of a record that says that they are gone.
pub(super) fn encode_gone(sequences: &[u64]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for &sequence in sequences {
        match ranges.last_mut() {
            Some((_, end)) if *end == sequence => *end += 1,
            _ => ranges.push((sequence, sequence + 1)),
        }
    }
    serde_json::to_string(&ranges).expect("numbers are JSON")
}

/// The ranges of such a record.
pub(super) fn decode_gone(payload: &str) -> Result<Vec<(u64, u64)>, String> {
    serde_json::from_str(payload).map_err(|error| error.to_string())
}

/// An unknown word is that of a newer program.
fn class(word: &str) -> FailureClass {
    let mut all = FailureClass::ALL.into_iter();
    all.find(|class| class.as_str() == word)
        .unwrap_or(FailureClass::Error)
}

pub(super) fn to_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn from_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}
