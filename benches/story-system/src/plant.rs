//! What a component does wrong on purpose, to see that the harness finds it in the right figure and in no other.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Every so many events it is done to one.
const EVERY: u64 = 10;
const DELAY: Duration = Duration::from_millis(500);
const LEAKED_BYTES: usize = 128 * 1024;
const BURNT: Duration = Duration::from_millis(2);

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// None.
    None,
    /// Results are sent half a second later.
    Delay,
    /// A tenth of the results is not sent.
    Loss,
    /// A tenth is sent twice.
    Duplicate,
    /// A tenth has another sum.
    Wrong,
    /// 128 KiB for each event are never freed.
    Leak,
    /// For each event, once its result is sent, 2 ms of CPU are burnt.
    BusyLoop,
}

impl Plant {
    /// Spoils the result of the event with this number, which `text` has from `start` on.
    pub(crate) fn spoil(self, number: u64, text: &mut String, start: usize) {
        if !number.is_multiple_of(EVERY) {
            return;
        }
        match self {
            Self::Loss => text.truncate(start),
            Self::Duplicate => text.extend_from_within(start..),
            // The sum is the last number of the line.
            Self::Wrong => text.insert(text.len() - "}}\n".len(), '0'),
            Self::None | Self::Delay | Self::Leak | Self::BusyLoop => {}
        }
    }

    /// Before the results of so many events are sent.
    pub(crate) async fn before_sending(self, events: usize) {
        match self {
            Self::Delay => tokio::time::sleep(DELAY).await,
            // Filled, because memory that nobody has written to is not there.
            Self::Leak => std::mem::forget(vec![1_u8; events * LEAKED_BYTES]),
            _ => {}
        }
    }

    /// After they are sent.
    pub(crate) fn after_sending(self, events: usize) {
        if self == Self::BusyLoop {
            let end = thread_time() + BURNT * u32::try_from(events).unwrap_or(u32::MAX);
            while thread_time() < end {
                std::hint::spin_loop();
            }
        }
    }
}

/// The CPU time of this thread, which stands still while others have the core.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into().expect("CPU time is not negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoilt(plant: Plant, number: u64) -> String {
        let mut text = "before\n{\"data\":{\"n\":1,\"sum\":2}}\n".to_owned();
        plant.spoil(number, &mut text, 7);
        text
    }

    #[test]
    fn one_event_in_ten_is_spoilt() {
        let line = "{\"data\":{\"n\":1,\"sum\":2}}\n";
        let clean = format!("before\n{line}");
        for plant in [Plant::Loss, Plant::Duplicate, Plant::Wrong] {
            assert_eq!(spoilt(plant, 11), clean);
        }
        assert_eq!(spoilt(Plant::None, 20), clean);
        assert_eq!(spoilt(Plant::Loss, 20), "before\n");
        assert_eq!(spoilt(Plant::Duplicate, 20), format!("{clean}{line}"));
        assert_eq!(
            spoilt(Plant::Wrong, 20),
            clean.replace("\"sum\":2", "\"sum\":20")
        );
    }
}
