//! What a component does wrong on purpose, to see that the harness finds it in the right figure and in no other.

use std::hint::{black_box, spin_loop};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Every so many events it is done to one: more of it would be seen in other figures, too, since a wait has a wake-up, and
/// memory has page faults.
const EVERY: u64 = 10;
/// Far longer than everything else takes, and not yet late.
const DELAY: Duration = Duration::from_millis(10);
const LEAKED_BYTES: usize = 32 * 1024;
/// In pieces that are too short for events to wait for.
const BURNT: Duration = Duration::from_micros(20);
const BURNT_EVERY: Duration = Duration::from_millis(1);

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// None.
    None,
    /// A tenth of the results is sent 10 ms later.
    Delay,
    /// A tenth is not sent.
    Loss,
    /// A tenth is sent twice.
    Duplicate,
    /// A tenth has another sum.
    Wrong,
    /// 32 KiB for a tenth of the events are never freed.
    Leak,
    /// For 20 us of each millisecond it looks for nothing.
    BusyLoop,
}

impl Plant {
    /// Does what is not done to single events, from now on.
    pub(crate) fn start(self) {
        // It ends with the process. Everybody goes round once, or the pages of this code would be memory of one plant.
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(BURNT_EVERY).await;
                let end = thread_time() + BURNT;
                while thread_time() < end {
                    spin_loop();
                }
                if self != Self::BusyLoop {
                    break;
                }
            }
        });
    }

    /// Spoils the result of the event with this number, which `text` has from `start` on.
    pub(crate) async fn spoil(self, number: u64, text: &mut String, start: usize) {
        if !number.is_multiple_of(EVERY) {
            return;
        }
        match self {
            Self::Delay => tokio::time::sleep(DELAY).await,
            Self::Loss => text.truncate(start),
            Self::Duplicate => text.extend_from_within(start..),
            // The sum is the last number of the line.
            Self::Wrong => text.insert(text.len() - "}}\n".len(), '0'),
            // Filled, because memory that nobody has written to is not there.
            Self::Leak => std::mem::forget(black_box(vec![1_u8; LEAKED_BYTES])),
            Self::None | Self::BusyLoop => {}
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
    use futures::FutureExt;

    use super::*;

    fn spoilt(plant: Plant, number: u64) -> String {
        let mut text = "before\n{\"data\":{\"n\":1,\"sum\":2}}\n".to_owned();
        plant.spoil(number, &mut text, 7).now_or_never().unwrap();
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
