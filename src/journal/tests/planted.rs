//! The tester is tested: each bug of this list is planted in the code at its place, and must be found.

use std::cell::Cell;

use super::world::Violation;
use super::{rot, seeds, world};

/// Seeds within which each bug is found.
const SEEDS: u64 = 10_000;

/// What is wrong when it is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal) enum Bug {
    /// What was written counts as synced.
    EarlyAck,
    /// A sync is said to be done and is not.
    SyncSkipped,
    /// A segment is begun while records of the one before are not on the disk.
    RollWithoutSync,
    /// The name of a new segment is not brought to the disk.
    NameNotSynced,
    /// After a sync that failed, the log goes on and syncs again.
    SyncTriedAgain,
    /// The name of a segment for which there was no room stays.
    FailedNameLeft,
    /// Segments go before the cursor that allows it is on the disk.
    UnlinkBeforeCursor,
    /// Records say that they themselves were on the disk.
    DurableTooHigh,
    /// The cursor takes what lies below the highest finished event as finished.
    CursorPastGap,
    /// The slot of the cursor that must stay is written over.
    SlotWrittenOver,
    /// Of two whole slots, the older one counts.
    OlderSlotChosen,
    /// What is torn at the end stays in the file.
    TailNotCut,
    /// What is torn between records stays so.
    VoidNotWritten,
    /// Records of which nobody knows whether they are on the disk are taken as if they were.
    TailNotWrittenAgain,
    /// Tag and payload are believed.
    BodyChecksumIgnored,
    /// A header is believed.
    HeaderChecksumIgnored,
    /// A write that wrote less counts as done.
    ShortWriteIgnored,
    /// Retention forgets to ask whether a segment is finished.
    UnfinishedUnlinked,
    /// The numbers begin anew when no segment is left.
    EndForgotten,
}

const BUGS: [Bug; 19] = [
    Bug::EarlyAck,
    Bug::SyncSkipped,
    Bug::RollWithoutSync,
    Bug::NameNotSynced,
    Bug::SyncTriedAgain,
    Bug::FailedNameLeft,
    Bug::UnlinkBeforeCursor,
    Bug::DurableTooHigh,
    Bug::CursorPastGap,
    Bug::SlotWrittenOver,
    Bug::OlderSlotChosen,
    Bug::TailNotCut,
    Bug::VoidNotWritten,
    Bug::TailNotWrittenAgain,
    Bug::BodyChecksumIgnored,
    Bug::HeaderChecksumIgnored,
    Bug::ShortWriteIgnored,
    Bug::UnfinishedUnlinked,
    Bug::EndForgotten,
];

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// What the code asks at the bug's place.
pub(in crate::journal) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Takes the bug out again, also when it ends in a panic.
struct Planted;

impl Planted {
    fn new(bug: Bug) -> Self {
        PLANTED.set(Some(bug));
        Self
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        PLANTED.set(None);
    }
}

/// Both worlds of a seed.
fn run(seed: u64) -> Result<(), Violation> {
    world::run(seed).and_then(|()| rot::run(seed))
}

fn run_with(bug: Bug, seed: u64) -> Result<(), Violation> {
    let _planted = Planted::new(bug);
    run(seed)
}

#[test]
fn each_planted_bug_is_found_and_its_seed_finds_it_again() {
    let mut missed = Vec::new();
    for bug in BUGS {
        match seeds::first_failure(SEEDS, |seed| run_with(bug, seed)) {
            Some((seed, violation)) => {
                println!("{bug:?}: seed {seed}: {violation}");
                let again = seeds::guarded(&|seed| run_with(bug, seed), seed);
                assert_eq!(again, Err(violation), "seed {seed}");
                assert_eq!(run(seed), Ok(()), "seed {seed} without a bug");
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
