//! One sender's way to one inlet: gathers events until there is credit to send them.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::Recipient;

use crate::batch::{Arena, BATCH_EVENTS_MAX, EventBatch};
use crate::dead_letter::Failure;
use crate::event::EventRecord;
use crate::mailbox::{Credits, Custody, Inlet, OutletReady};
use crate::origin::Origin;
use crate::shipment::Shipment;
use crate::sink_stats::SinkStats;
use crate::stats::Registry;

/// One sender's way to one inlet: gathers events and sends them whenever it has credit.
#[derive(Debug)]
pub struct Outlet {
    inlet: Arc<Inlet>,
    credits: Arc<Credits>,
    parcels: VecDeque<Parcel>,
    /// Events of the last batch: the next one is made with room for as many.
    usual_events: usize,
    /// The ledger of the sink behind the inlet, if it is one.
    offered_to: Option<Arc<SinkStats>>,
}

/// Events gathered for one message.
#[derive(Debug, Default)]
struct Parcel {
    batch: EventBatch,
    failures: Vec<Failure>,
    /// Custody of the batches that the events came from: returned to their senders once this parcel is sent.
    taken_from: Vec<Arc<Custody>>,
}

impl Outlet {
    /// An outlet that its owner knows as number `outlet` and hears of by [`OutletReady`].
    pub fn new(
        inlet: Arc<Inlet>,
        owner: Recipient<OutletReady>,
        outlet: usize,
        registry: &Arc<Registry>,
        offered_to: Option<Arc<SinkStats>>,
    ) -> Self {
        Self {
            inlet,
            credits: Credits::new(owner, outlet, Arc::clone(registry)),
            parcels: VecDeque::new(),
            usual_events: 1,
            offered_to,
        }
    }

    /// Gives the outlet to another owner, which then has what is gathered.
    pub(crate) fn readdress(&self, owner: Recipient<OutletReady>) {
        self.credits.readdress(owner);
    }

    /// Adds one event to what is gathered. If a whole batch is waiting already, `taken_from` is held until the event is
    /// sent, so that its sender waits as well.
    pub(crate) fn push(
        &mut self,
        record: EventRecord,
        arena: &Arc<Arena>,
        origin: &Arc<Origin>,
        taken_from: Option<&Arc<Custody>>,
    ) {
        let is_congested = !self.has_room();
        let parcel = self.parcel_for(record.line_bytes());
        parcel.batch.push(record, arena, origin);
        if let Some(custody) = taken_from
            && is_congested
            && !parcel
                .taken_from
                .last()
                .is_some_and(|last| Arc::ptr_eq(last, custody))
        {
            parcel.taken_from.push(Arc::clone(custody));
        }
    }

    /// As [`Outlet::push`], for one failed event on its way to the dead letters.
    pub(crate) fn push_failed(
        &mut self,
        record: EventRecord,
        arena: &Arc<Arena>,
        origin: &Arc<Origin>,
        failure: Failure,
        taken_from: Option<&Arc<Custody>>,
    ) {
        self.push(record, arena, origin, taken_from);
        let parcel = self.parcels.back_mut();
        let parcel = parcel.expect("the event was just added to it");
        parcel.failures.push(failure);
    }

    /// Adds a whole batch.
    pub(crate) fn append(&mut self, batch: EventBatch) {
        match self.parcels.back_mut() {
            Some(last)
                if last.batch.len() + batch.len() <= BATCH_EVENTS_MAX
                    && !last.batch.is_full_for(batch.bytes()) =>
            {
                last.batch.append(&batch);
            }
            _ => self.parcels.push_back(Parcel {
                batch,
                ..Parcel::default()
            }),
        }
    }

    /// Adds a whole batch that stays its sender's as well. Its custody is held as [`Outlet::push`] does.
    pub(crate) fn forward(&mut self, batch: &EventBatch, taken_from: Option<&Arc<Custody>>) {
        let is_congested = !self.has_room();
        self.append(batch.clone());
        if is_congested && let Some(last) = self.parcels.back_mut() {
            last.taken_from.extend(taken_from.cloned());
        }
    }

    /// Whether events can be added without exceeding one full batch.
    pub(crate) fn has_room(&self) -> bool {
        match self.parcels.len() {
            0 => true,
            1 => !self.parcels[0].batch.is_full(),
            _ => false,
        }
    }

    /// Events gathered and not sent.
    pub(crate) fn gathered(&self) -> usize {
        self.parcels.iter().map(|parcel| parcel.batch.len()).sum()
    }

    /// Whether nothing is gathered.
    pub(crate) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Sends what is gathered as far as credits go.
    pub(crate) fn flush(&mut self) {
        while !self.parcels.is_empty() && self.credits.are_left_or_wanted() {
            self.send_first();
        }
    }

    /// Sends full batches as far as credits go, and leaves the rest to be added to.
    pub(crate) fn flush_full(&mut self) {
        let is_full = |parcels: &VecDeque<Parcel>| {
            let first = parcels.front();
            first.is_some_and(|first| parcels.len() > 1 || first.batch.is_full())
        };
        while is_full(&self.parcels) && self.credits.are_left() {
            self.send_first();
        }
    }

    fn parcel_for(&mut self, bytes: usize) -> &mut Parcel {
        let is_full = self
            .parcels
            .back()
            .is_none_or(|last| last.batch.is_full_for(bytes));
        if is_full {
            self.parcels.push_back(Parcel {
                batch: EventBatch::with_capacity(self.usual_events),
                ..Parcel::default()
            });
        }
        self.parcels.back_mut().expect("one was just made")
    }

    fn send_first(&mut self) {
        let Some(parcel) = self.parcels.pop_front() else {
            return;
        };
        let events = parcel.batch.len();
        self.usual_events = events;
        // Counted before it is sent: a fast sink has delivered it before this thread goes on.
        if let Some(sink) = &self.offered_to {
            sink.offer(events);
        }
        let shipment = Shipment::new(parcel.batch, parcel.failures);
        self.inlet.send(shipment, self.credits.take());
    }
}

impl Drop for Outlet {
    /// The sender has answered for what is gathered, so an end of its actor must not take it along: it goes beyond the
    /// credits, at most about one batch a time.
    fn drop(&mut self) {
        while !self.parcels.is_empty() {
            self.send_first();
        }
    }
}
