//! What a journal is: the trait that the service implements over its disk.

use std::sync::Arc;
use std::time::SystemTime;

use crate::batch::EventBatch;
use crate::finished::Finished;
use crate::supervision::StartError;

/// The durable log between sources and router. Its events are numbered without gaps, across restarts.
///
/// It lives on a thread of its own, and may block.
pub trait Journal: 'static {
    /// Writes a batch and gives its events the next numbers, of which the first is returned. The batch is durable after the
    /// next [`Journal::sync`].
    ///
    /// # Errors
    /// Nothing was written.
    fn append(&mut self, source: &str, batch: &EventBatch) -> Result<u64, JournalRefusal>;

    /// Makes everything that was written durable.
    ///
    /// # Errors
    /// It is unknown what of it is. The journal accepts nothing any more.
    fn sync(&mut self) -> Result<(), JournalFailure>;

    /// Reads the first stored batch that has events at or after number `from`; `None` if there is none. What was damaged is
    /// passed over.
    ///
    /// # Errors
    /// What keeps it from reading on.
    fn read(&mut self, from: u64) -> Result<Option<Stored>, JournalFailure>;

    /// Writes down what is finished, so that it does not come again after a restart, and frees the room of what is kept no
    /// longer. With `is_durable` it survives a power cut as well. False if the disk has no room for that now: what was
    /// written down before stays.
    ///
    /// # Errors
    /// It could not be written down. The journal accepts nothing any more.
    fn persist(&mut self, finished: &Finished, is_durable: bool) -> Result<bool, JournalFailure>;

    /// The number of the oldest event that may be read.
    fn oldest(&self) -> u64;

    /// The number that the next event gets.
    fn end(&self) -> u64;

    /// Bytes that are stored for the events from number `from` on; an estimate will do.
    fn unread_bytes(&self, from: u64) -> u64;
}

/// Opens the journal, on its thread.
pub trait JournalFactory: Send + Sync {
    /// The journal, and what of it is finished.
    ///
    /// # Errors
    /// What keeps it from being opened.
    fn open(&self) -> Result<(Box<dyn Journal>, Finished), StartError>;

    /// Whether there is something on the disk already.
    fn exists(&self) -> bool;
}

/// Why a batch is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalRefusal {
    /// There is no room on the disk now.
    #[error("no room on the disk: {0}")]
    Full(String),
    /// Nothing can be stored any more.
    #[error(transparent)]
    Failed(#[from] JournalFailure),
}

/// A write, sync or read that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JournalFailure(pub String);

/// A batch as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The number of its first event.
    pub first: u64,
    /// How many events it has.
    pub events: usize,
    /// When it was stored.
    pub at: SystemTime,
    /// The source that took them in.
    pub source: Arc<str>,
    /// A line for each event, with its newline.
    pub lines: String,
}
