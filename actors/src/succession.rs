//! Who takes over what is left at an inlet whose actor is gone for good, and what still comes there.

use std::sync::Arc;

use crate::batch::EventBatch;
use crate::dead_letter::{Failure, FailureClass};
use crate::key::KeySelector;
use crate::mailbox::{Custody, Inlet};
use crate::shipment::Shipment;
use crate::sink_stats::SinkStats;

/// Who takes over.
#[derive(Clone, Debug)]
pub enum Successor {
    /// The lanes of the handler's next version, each event the one of its key.
    Lanes {
        /// What orders the events.
        key: KeySelector,
        /// At least one.
        lanes: Vec<Arc<Inlet>>,
    },
    /// Nobody: there is no such handler or sink any more.
    DeadLetters {
        /// Where dead letters go.
        inlet: Arc<Inlet>,
        /// `handler.NAME` or `sink.NAME`.
        branch: Arc<str>,
        /// The ledger of a sink.
        sink: Option<Arc<SinkStats>>,
    },
}

impl Successor {
    /// Takes over what is left of a batch, in order. Its custody goes with the first part of it.
    pub(crate) fn take_over(&self, shipment: &Shipment, mut custody: Option<Custody>) {
        match self {
            Self::Lanes { key, lanes } => {
                let mut parts = vec![EventBatch::default(); lanes.len()];
                for index in shipment.left() {
                    let event = shipment.batch.event(index);
                    let lane = (key.hash(&event) % lanes.len() as u64) as usize;
                    push(&mut parts[lane], shipment, index);
                }
                parts.iter_mut().zip(lanes).for_each(|(batch, lane)| {
                    if !batch.is_empty() {
                        let part = Shipment::part_of(shipment, std::mem::take(batch));
                        lane.take_in(Arc::new(part), custody.take());
                    }
                });
            }
            Self::DeadLetters {
                inlet,
                branch,
                sink,
            } => {
                let mut left = EventBatch::default();
                shipment
                    .left()
                    .for_each(|index| push(&mut left, shipment, index));
                if let Some(sink) = sink {
                    sink.refuse(left.len());
                }
                let why = "it was removed from the config before it took the event";
                let failure = Failure::untried(branch, FailureClass::Unroutable, why);
                let failures = vec![failure; left.len()];
                if !left.is_empty() {
                    inlet.take_in(Arc::new(Shipment::new(left, failures)), custody.take());
                }
            }
        }
    }
}

fn push(batch: &mut EventBatch, shipment: &Shipment, index: usize) {
    let record = shipment.batch.records()[index];
    let arena = shipment.batch.arena(record.arena);
    let origin = shipment.batch.origin(record.origin);
    batch.push(record, arena, origin);
}
