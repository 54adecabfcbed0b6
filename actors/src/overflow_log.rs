//! A sink's overflow log while it is open.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::cursor::Cursor;
use crate::journal::{Journal, JournalRefusal};
use crate::origin::{Mark, Origin};
use crate::read_back::ReadBack;
use crate::shipment::Shipment;

/// A sink's log that is open.
pub(crate) struct OpenLog {
    pub(crate) journal: Box<dyn Journal>,
    pub(crate) read_back: ReadBack,
    pub(crate) cursor: Cursor,
}

impl OpenLog {
    /// Whether there may be more in it.
    pub(crate) fn check_room(&self, bytes_max: u64) -> Result<(), JournalRefusal> {
        let waiting = self.journal.unread_bytes(self.read_back.finished.prefix());
        if waiting <= bytes_max {
            return Ok(());
        }
        let reason = format!("{waiting} bytes wait, more than `journal.overflow`, {bytes_max}");
        Err(JournalRefusal::Full(reason))
    }

    /// Stores batches that the sink has in its window, to be read by the next process only.
    pub(crate) fn shadow(
        &mut self,
        sink: &str,
        shadows: &mut VecDeque<Arc<Shipment>>,
    ) -> Result<(), JournalRefusal> {
        while let Some(shipment) = shadows.front() {
            let batch = &shipment.batch;
            let finished = &self.read_back.finished;
            // Some were read from here, and are not settled since.
            let is_here = |origin: &Arc<Origin>| origin.is_noted_in(finished);
            if !batch.origins().iter().any(is_here) {
                let first = self.journal.append(sink, batch)?;
                debug_assert_eq!(self.read_back.next, first);
                self.read_back.next = first + batch.len() as u64;
                shipment.attach(Mark {
                    finished: finished.clone(),
                    first,
                });
            }
            shadows.pop_front();
        }
        Ok(())
    }
}
