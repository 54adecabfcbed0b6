//! The handlers' work, the same in every system: read the event's data, burn a fixed number of rounds, answer with what
//! came out. The harness computes the same and so knows a wrong answer.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::Event;

/// The type of every result.
pub const RESULT_TYPE: &str = "story.done";

/// Events that a component works on at a time if it has to wait.
pub const LANES: usize = 16;

/// A large odd number, so that multiplying by it loses nothing.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Events whose first attempt failed on purpose, so that the next one does not. Shared, because a handler that panics is
/// built anew and remembers nothing.
static FAILED_ONCE: Mutex<BTreeSet<(u8, u64)>> = Mutex::new(BTreeSet::new());

/// What a component does with an event.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkOptions {
    /// Which of the components this is, from 0.
    #[arg(long)]
    pub component: u8,
    /// Rounds of arithmetic for each event.
    #[arg(long)]
    pub rounds: u32,
    /// Microseconds that it waits for somebody else after the work on an event; then it works on up to 16 events at a time.
    #[arg(long, default_value_t = 0)]
    #[serde(default)]
    pub wait_us: u64,
    /// Of 10,000 events, how many fail at the first attempt.
    #[arg(long, default_value_t = 0)]
    #[serde(default)]
    pub errors_per_10000: u64,
    /// Of 10,000 events, at how many the handler panics at the first attempt.
    #[arg(long, default_value_t = 0)]
    #[serde(default)]
    pub panics_per_10000: u64,
}

/// An attempt failed that another one will not.
#[derive(Debug)]
pub struct Failure;

/// The work, with what it writes its answers into.
#[derive(Debug)]
pub struct Work {
    options: WorkOptions,
    answer: String,
}

impl Work {
    /// The work of one component.
    pub fn new(options: WorkOptions) -> Self {
        Self {
            options,
            answer: String::new(),
        }
    }

    /// Works on one event, and gives its number; [`Work::answer`] is what comes out.
    ///
    /// # Errors
    /// A transient error, which the schedule wants.
    ///
    /// # Panics
    /// Where the schedule wants it, and if an event's id is not a number: the harness numbers them.
    pub fn run(&mut self, event: &Event<'_>) -> Result<u64, Failure> {
        let number: u64 = event.raw_id().parse().expect("the harness numbers events");
        self.fail_on_purpose(number)?;
        let data = event.data().unwrap_or_default();
        let sum = expected_sum(data.as_bytes(), self.options.component, self.options.rounds);
        self.answer.clear();
        write!(self.answer, "{{\"n\":{number},\"sum\":{sum}}}").expect("a string takes all");
        Ok(number)
    }

    /// The `data` of the last event's result.
    pub fn answer(&self) -> &str {
        &self.answer
    }

    /// How long to wait after the work on an event.
    pub fn wait(&self) -> Duration {
        Duration::from_micros(self.options.wait_us)
    }

    fn fail_on_purpose(&self, number: u64) -> Result<(), Failure> {
        let WorkOptions {
            component,
            errors_per_10000: errors,
            panics_per_10000: panics,
            ..
        } = self.options;
        if errors + panics == 0 {
            return Ok(());
        }
        let dice = mixed(number ^ (u64::from(component) << 56)) % 10_000;
        if dice >= errors + panics {
            return Ok(());
        }
        let is_first = FAILED_ONCE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((component, number));
        match (is_first, dice < errors) {
            (false, _) => Ok(()),
            (true, true) => Err(Failure),
            (true, false) => panic!("a panic on purpose, at event {number}"),
        }
    }
}

/// What comes out of the work on this data.
pub fn expected_sum(data: &[u8], component: u8, rounds: u32) -> u64 {
    let mut state = u64::from(component) + 1;
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        state = (state.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(MULTIPLIER);
    }
    for byte in rest {
        state = (state.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(MULTIPLIER);
    }
    for _ in 0..rounds {
        state = mixed(state);
    }
    state
}

/// Each round needs the one before, so no processor can do two at once.
fn mixed(state: u64) -> u64 {
    let state = (state ^ (state >> 29)).wrapping_mul(MULTIPLIER);
    state ^ (state >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use veltrix_actors::{Intake, detached_types};

    fn event_numbered(number: u64) -> Intake {
        let line = format!(
            r#"{{"specversion":"1.0","id":"{number}","source":"/s","type":"t","data":{{"a":1}}}}"#
        );
        let mut intake = Intake::over(String::new());
        intake.push_line(&line, &mut detached_types()).unwrap();
        intake
    }

    fn options(errors_per_10000: u64, panics_per_10000: u64, component: u8) -> WorkOptions {
        WorkOptions {
            component,
            rounds: 3,
            wait_us: 0,
            errors_per_10000,
            panics_per_10000,
        }
    }

    #[test]
    fn the_answer_is_what_the_harness_expects() {
        let mut work = Work::new(options(0, 0, 2));
        let intake = event_numbered(7);
        let sum = expected_sum(br#"{"a":1}"#, 2, 3);
        work.run(&intake.event(0)).unwrap();
        assert_eq!(work.answer(), format!(r#"{{"n":7,"sum":{sum}}}"#));
    }

    #[test]
    fn every_byte_component_and_round_counts() {
        let sum = expected_sum(b"123456789", 1, 5);
        assert_ne!(sum, expected_sum(b"123456780", 1, 5));
        assert_ne!(sum, expected_sum(b"023456789", 1, 5));
        assert_ne!(sum, expected_sum(b"123456789", 2, 5));
        assert_ne!(sum, expected_sum(b"123456789", 1, 6));
    }

    #[test]
    fn what_fails_on_purpose_fails_once() {
        let intake = event_numbered(11);
        let mut work = Work::new(options(10_000, 0, 200));
        assert!(work.run(&intake.event(0)).is_err());
        assert!(work.run(&intake.event(0)).is_ok());
        let mut work = Work::new(options(0, 10_000, 201));
        let attempt = std::panic::AssertUnwindSafe(|| work.run(&intake.event(0)).is_ok());
        assert!(std::panic::catch_unwind(attempt).is_err());
        assert!(work.run(&intake.event(0)).is_ok());
    }
}
