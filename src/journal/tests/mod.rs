//! The log over a simulated disk: what it does, and that it keeps what it promised whatever happens to disk and process.

mod damage;
mod dice;
mod inspecting;
mod lifecycle;
pub(in crate::journal) mod planted;
mod rot;
mod scanning;
mod seeds;
mod simulated;
mod simulation;
mod world;

use std::time::Duration;

use simulated::{SimulatedClock, SimulatedDisk};
use veltrix_actors::Finished;

use super::{Log, Next, OpenError, Options, Recovered};

type SimulatedLog = Log<SimulatedDisk, SimulatedClock>;

const OPTIONS: Options = Options {
    segment_bytes: 512,
    retain_bytes: 0,
    retain_age: Duration::from_secs(3600),
};

fn try_open(disk: &SimulatedDisk) -> Result<(SimulatedLog, Recovered), OpenError> {
    Log::open(disk.clone(), SimulatedClock::default(), OPTIONS)
}

fn open(disk: &SimulatedDisk) -> (SimulatedLog, Recovered) {
    try_open(disk).unwrap()
}

/// The text of the record whose first event is `first`.
fn text(first: u64) -> String {
    format!("event {first} {}\n", "x".repeat((first * 7 % 50) as usize))
}

/// Appends records of `sizes` events each, and syncs them.
fn append(log: &mut SimulatedLog, sizes: &[u32]) {
    for events in sizes {
        let text = text(log.end());
        let (left, right) = text.as_bytes().split_at(text.len() / 2);
        log.append("shop", *events, &[left, b"", right]).unwrap();
    }
    log.sync().unwrap();
}

/// What there is from `from` on: the first sequence of each record, and the lost sequences. Payloads are checked.
fn read_from(log: &mut SimulatedLog, mut from: u64) -> (Vec<u64>, Finished) {
    let (mut records, mut lost) = (Vec::new(), Finished::default());
    let mut payload = Vec::new();
    loop {
        match log.read(from, &mut payload).unwrap() {
            Next::Record(record) => {
                assert_eq!(payload, text(record.first).as_bytes());
                assert_eq!(record.tag, "shop");
                assert!(record.sequences().contains(&from));
                from = record.sequences().end;
                records.push(record.first);
            }
            Next::Lost(range) => {
                assert_eq!(range.start, from);
                assert!(range.end > from);
                from = range.end;
                lost.insert(range);
            }
            Next::End => {
                assert_eq!(from, log.synced());
                return (records, lost);
            }
        }
    }
}
