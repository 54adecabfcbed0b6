//! Sources whose events are kept where they came from: how far they are finished, and the place that is remembered for it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::origin::Mark;
use crate::shared_finished::SharedFinished;

/// How often a source's cursor is moved.
pub const CURSOR_INTERVAL: Duration = Duration::from_millis(50);

/// A source's place in what it reads: it moves over what is finished, and is where the next process goes on.
pub trait Cursor: 'static {
    /// The first `finished` of the events that were submitted ([`SourcePort::submitted`]) are finished. Called every
    /// [`CURSOR_INTERVAL`] on the source's thread.
    ///
    /// [`SourcePort::submitted`]: crate::SourcePort::submitted
    fn advance(&mut self, finished: u64);

    /// Nothing is in flight: makes the place survive a power cut.
    fn sync(&mut self);
}

/// Where a source's place is kept from one process to the next.
pub trait CursorStore: Send + Sync {
    /// What was saved last; nothing if there is none, or if it was damaged and that is in the log.
    ///
    /// # Errors
    /// The place is there, or there is no room for it, and it cannot be used.
    fn load(&self) -> io::Result<Option<Vec<u8>>>;

    /// Keeps `place` through an end of the process. Called after [`CursorStore::load`].
    ///
    /// # Errors
    /// It could not be written; what was saved before is still there.
    fn save(&self, place: &[u8]) -> io::Result<()>;

    /// Keeps what was saved last through a power cut.
    ///
    /// # Errors
    /// It may not be on the disk; what was synced before is.
    fn sync(&self) -> io::Result<()>;
}

/// The events of a source that are kept where they came from: numbered, so that the source knows how far all are finished.
///
/// It outlives the source's actors, whose events may be finished after them.
pub struct Upstream {
    // Written by the source's actor only; whoever finishes events is on another thread.
    submitted: AtomicU64,
    finished: Arc<SharedFinished>,
    store: Arc<dyn CursorStore>,
}

impl Upstream {
    /// A source whose place is kept in `store`.
    pub fn new(store: Arc<dyn CursorStore>) -> Arc<Self> {
        Arc::new(Self {
            submitted: AtomicU64::new(0),
            finished: Arc::default(),
            store,
        })
    }

    /// The numbers of the next events.
    pub(crate) fn mark(&self, events: usize) -> Mark {
        Mark {
            finished: self.finished.clone(),
            first: self.submitted.fetch_add(events as u64, Ordering::Relaxed),
        }
    }

    pub(crate) fn submitted(&self) -> u64 {
        self.submitted.load(Ordering::Relaxed)
    }

    pub(crate) fn finished(&self) -> u64 {
        self.finished.prefix()
    }

    pub(crate) fn store(&self) -> &Arc<dyn CursorStore> {
        &self.store
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = formatter.debug_struct("Upstream");
        out.field("submitted", &self.submitted)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}
