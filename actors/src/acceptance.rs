//! What it means for a batch's origins that the journal stores it, or not.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::EventBatch;
use crate::origin::{Mark, Origin};
use crate::receipt::Admission;
use crate::shared_finished::SharedFinished;

/// For each of the batch's origins the numbers of its events, which lie beside each other.
fn marks(batch: &EventBatch, first: u64) -> impl Iterator<Item = (&Arc<Origin>, Range<u64>)> {
    let mut next = first;
    let runs = batch.records().chunk_by(|a, b| a.origin == b.origin);
    runs.map(move |run| {
        let start = next;
        next += run.len() as u64;
        (batch.origin(run[0].origin), start..next)
    })
}

/// The journal has stored the batch: its events are accepted, and have the numbers from `first` on.
pub(crate) fn store(batch: &EventBatch, first: u64, finished: &Arc<SharedFinished>) {
    for (origin, numbers) in marks(batch, first) {
        debug_assert_eq!(origin.kept() as u64, numbers.end - numbers.start);
        origin.store(Mark {
            finished: finished.clone(),
            first: numbers.start,
        });
    }
}

/// What was left out of the batch is durable since it came first; whoever waits for nothing else is answered.
pub(crate) fn accept_left_out(batch: &EventBatch) {
    let left_out = batch.origins().iter().filter(|origin| origin.kept() == 0);
    left_out.for_each(|origin| origin.accept_left_out());
}

/// The journal cannot store the batch.
pub(crate) fn reject(batch: &EventBatch, admission: Admission) {
    batch
        .origins()
        .iter()
        .for_each(|origin| origin.reject(admission));
}

/// The stored events leave memory.
pub(crate) fn park(batch: &EventBatch) {
    batch.origins().iter().for_each(|origin| origin.park());
}

/// Whether whoever submitted them would rather be refused than wait for a full disk.
pub(crate) fn is_refusable(batch: &EventBatch) -> bool {
    batch.origins().iter().any(|origin| origin.is_refusable())
}
