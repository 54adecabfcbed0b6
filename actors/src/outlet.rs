//! One sender's way to one inlet: gathers events until there is credit to send them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::Recipient;

use crate::batch::{Arena, BATCH_EVENTS_MAX, EventBatch};
use crate::dead_letter::Failure;
use crate::event::EventRecord;
use crate::mailbox::{CREDITS, Custody, Deliver, Inlet, OutletReady, ReturnAddress, post};
use crate::origin::Origin;
use crate::stats::{Registry, SinkStats};

/// One sender's way to one inlet: gathers events and sends them whenever it has credit.
#[derive(Debug)]
pub struct Outlet {
    inlet: Arc<Inlet>,
    receiver: Option<Recipient<Deliver>>,
    generation: u64,
    returns: Arc<ReturnAddress>,
    in_flight: usize,
    /// The inlet's actor is gone; the supervisor's next one wakes this outlet.
    is_waiting: bool,
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
    taken_from: Vec<Rc<Custody>>,
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
        let in_use = Arc::clone(registry);
        Self {
            inlet,
            receiver: None,
            generation: 0,
            returns: ReturnAddress::new(owner, outlet, in_use),
            in_flight: 0,
            is_waiting: false,
            parcels: VecDeque::new(),
            usual_events: 1,
            offered_to,
        }
    }

    /// Adds one event to what is gathered. If a whole batch is waiting already, `taken_from` is held until the event is
    /// sent, so that its sender waits as well.
    pub(crate) fn push(
        &mut self,
        record: EventRecord,
        arena: &Arc<Arena>,
        origin: &Arc<Origin>,
        taken_from: Option<&Rc<Custody>>,
    ) {
        let is_congested = !self.has_room();
        let parcel = self.parcel_for(record.line_bytes());
        parcel.batch.push(record, arena, origin);
        if let Some(custody) = taken_from
            && is_congested
            && !parcel
                .taken_from
                .last()
                .is_some_and(|last| Rc::ptr_eq(last, custody))
        {
            parcel.taken_from.push(Rc::clone(custody));
        }
    }

    /// As [`Outlet::push`], for one failed event on its way to the dead letters.
    pub(crate) fn push_failed(
        &mut self,
        record: EventRecord,
        arena: &Arc<Arena>,
        origin: &Arc<Origin>,
        failure: Failure,
        taken_from: Option<&Rc<Custody>>,
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
        while self.in_flight < CREDITS && !self.is_waiting {
            let Some(parcel) = self.parcels.pop_front() else {
                return;
            };
            self.send(parcel);
        }
    }

    /// Sends full batches as far as credits go, and leaves the rest to be added to.
    pub(crate) fn flush_full(&mut self) {
        while self.in_flight < CREDITS
            && !self.is_waiting
            && self
                .parcels
                .front()
                .is_some_and(|first| self.parcels.len() > 1 || first.batch.is_full())
        {
            let parcel = self.parcels.pop_front().expect("its front was looked at");
            self.send(parcel);
        }
    }

    /// Takes the news in, and sends on.
    pub(crate) fn ready(&mut self, news: OutletReady) {
        self.in_flight = self.in_flight.saturating_sub(news.credits);
        self.is_waiting &= news.credits != 0;
        self.flush();
    }

    fn count_offered(&self, events: usize, is_sent: bool) {
        match &self.offered_to {
            Some(sink) if is_sent => sink.offer(events),
            Some(sink) => sink.take_back(events),
            None => {}
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

    fn send(&mut self, parcel: Parcel) {
        if self.generation != self.inlet.generation() {
            (self.receiver, self.generation) = self.inlet.receiver();
        }
        let deliver = Deliver::new(
            parcel.batch,
            parcel.failures,
            Custody::new(Arc::clone(&self.returns)),
            &self.inlet,
            self.generation,
        );
        let events = deliver.batch.len();
        self.usual_events = events;
        // Counted before it is sent: a fast sink has delivered it before this thread goes on.
        self.count_offered(events, true);
        match post(self.receiver.as_ref(), deliver) {
            Ok(()) => self.in_flight += 1,
            Err(mut refused) => {
                self.count_offered(events, false);
                let (batch, failures, custody) = refused.take();
                custody.cancel();
                self.parcels.push_front(Parcel {
                    batch,
                    failures,
                    taken_from: parcel.taken_from,
                });
                self.is_waiting = self.inlet.wait(&self.returns, self.generation);
            }
        }
    }
}
