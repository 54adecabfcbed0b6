//! A durable log of numbered events in segment files, with a cursor for what is finished: the journal, and whatever else
//! must outlive the process.
//!
//! [`Log`] is pure over [`Storage`] and [`Clock`], so that a simulator can crash it at any operation. `docs/journal.md` has
//! the format.

#[macro_use]
mod planted;
mod active;
mod clock;
mod creation;
mod cursor;
mod disk;
mod error;
mod event_journal;
mod inspection;
mod log;
mod quarantine;
mod reader;
mod record;
mod recovery;
mod retention;
mod scanner;
mod segment;
mod storage;
mod tail;
mod tail_rewrite;
#[cfg(test)]
mod tests;

pub use clock::{Clock, SystemClock};
pub use cursor::CURSOR_RANGES_MAX;
pub use disk::DiskStorage;
pub use error::{AppendError, OpenError, ReadError, Sealed};
pub(crate) use event_journal::DiskJournalFactory;
pub(crate) use inspection::{
    Finding, Found, Inspection, SegmentSummary, Stats, Unfinished, Verified,
};
pub use log::{Log, Options};
pub use quarantine::{QUARANTINE_BYTES_MAX, QUARANTINE_COPY_BYTES_MAX, QUARANTINE_FILES_MAX};
pub use reader::{Next, StoredRecord};
pub use record::{RECORD_BYTES_MAX, RECORD_EVENTS_MAX};
pub use recovery::{Damage, Recovered};
pub use segment::FORMAT_VERSION;
pub use storage::Storage;
