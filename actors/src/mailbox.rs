//! All sending between actors: inlets that outlive the actor behind them, credits that bound its mailbox, and outlets
//! that gather events until there is credit.
//!
//! actix's own capacity bounds nothing (`do_send` ignores it, `try_send` grants a message per clone) and a closed mailbox
//! swallows messages, so a sender here never sends without a credit, and gets the batch back when nobody takes it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use actix::dev::SendError;
use actix::prelude::{Message, Recipient};

use crate::batch::{Arena, EventBatch};
use crate::dead_letter::Failure;
use crate::event::EventRecord;
use crate::origin::Origin;
use crate::stats::{Gauge, SinkStats};

/// Batches that a sender may have on the way to one receiver: one being worked on and one waiting behind it.
pub const CREDITS: usize = 2;
/// Messages that one actor handles before it lets the others of its arbiter run.
pub const MESSAGES_PER_TURN_MAX: u32 = 64;

/// A batch on its way to the next actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// The events.
    pub batch: EventBatch,
    /// Why each of them failed; empty unless the receiver is the dead-letter actor.
    pub failures: Vec<Failure>,
    /// Returns the credit when the receiver drops it.
    pub custody: Custody,
    /// When it was sent, for the queueing delay.
    pub sent_at: Instant,
}

/// Tells a sender that one of its outlets has a credit again, or a new receiver.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct OutletReady {
    /// The sender's own number for the outlet.
    pub outlet: usize,
    credits: usize,
}

/// How an outlet's receivers reach its owner.
#[derive(Debug)]
struct ReturnAddress {
    owner: Recipient<OutletReady>,
    outlet: usize,
    in_use: Arc<crate::stats::Registry>,
}

impl ReturnAddress {
    fn send(&self, credits: usize) {
        let ready = OutletReady {
            outlet: self.outlet,
            credits,
        };
        // Bounded by the credits given out. A closed mailbox needs no credit any more.
        #[expect(clippy::disallowed_methods, reason = "the one module that sends")]
        self.owner.do_send(ready);
    }
}

/// The *custody* ack: whoever drops it has taken the batch over, and the sender may send another.
#[derive(Debug)]
pub struct Custody(Option<Arc<ReturnAddress>>);

impl Custody {
    fn new(returns: Arc<ReturnAddress>) -> Self {
        in_use(&returns).add(1);
        Self(Some(returns))
    }

    /// Takes the token back without returning a credit: the batch was never sent.
    fn cancel(mut self) {
        if let Some(returns) = self.0.take() {
            in_use(&returns).add(-1);
        }
    }
}

impl Drop for Custody {
    fn drop(&mut self) {
        if let Some(returns) = self.0.take() {
            in_use(&returns).add(-1);
            returns.send(1);
        }
    }
}

fn in_use(returns: &ReturnAddress) -> &Gauge {
    &returns.in_use.credits_in_use
}

/// Where batches for one actor go in. It outlives the actor: a restarted one is put behind the same inlet.
#[derive(Debug, Default)]
pub struct Inlet {
    // Shared and locked, because senders on any thread look the new receiver up; they cache it by generation.
    state: Mutex<InletState>,
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct InletState {
    receiver: Option<Recipient<Deliver>>,
    waiting: Vec<Arc<ReturnAddress>>,
}

impl Inlet {
    /// An inlet that nobody listens at yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Puts an actor behind the inlet and wakes the senders that wait for one.
    pub fn open(&self, receiver: Recipient<Deliver>) {
        let waiting = {
            let mut state = self.lock();
            state.receiver = Some(receiver);
            self.generation.fetch_add(1, Ordering::Release);
            std::mem::take(&mut state.waiting)
        };
        for sender in waiting {
            sender.send(0);
        }
    }

    fn receiver(&self) -> (Option<Recipient<Deliver>>, u64) {
        let state = self.lock();
        (
            state.receiver.clone(),
            self.generation.load(Ordering::Acquire),
        )
    }

    /// Calls the sender back at the next [`Inlet::open`]; false if that has happened since `generation`.
    fn wait(&self, returns: &Arc<ReturnAddress>, generation: u64) -> bool {
        let mut state = self.lock();
        let unchanged = self.generation.load(Ordering::Acquire) == generation;
        if unchanged {
            state.waiting.push(Arc::clone(returns));
        }
        unchanged
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, InletState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        registry: &Arc<crate::stats::Registry>,
        offered_to: Option<Arc<SinkStats>>,
    ) -> Self {
        let in_use = Arc::clone(registry);
        Self {
            inlet,
            receiver: None,
            generation: 0,
            returns: Arc::new(ReturnAddress {
                owner,
                outlet,
                in_use,
            }),
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

    /// Adds one failed event on its way to the dead letters.
    pub(crate) fn push_failed(
        &mut self,
        record: EventRecord,
        arena: &Arc<Arena>,
        origin: &Arc<Origin>,
        failure: Failure,
    ) {
        let parcel = self.parcel_for(record.line_bytes());
        parcel.batch.push(record, arena, origin);
        parcel.failures.push(failure);
    }

    /// Adds a whole batch.
    pub(crate) fn append(&mut self, batch: EventBatch) {
        match self.parcels.back_mut() {
            Some(last)
                if last.batch.len() + batch.len() <= crate::batch::BATCH_EVENTS_MAX
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
        if self.generation != self.inlet.generation.load(Ordering::Acquire) {
            (self.receiver, self.generation) = self.inlet.receiver();
        }
        let deliver = Deliver {
            batch: parcel.batch,
            failures: parcel.failures,
            custody: Custody::new(Arc::clone(&self.returns)),
            sent_at: Instant::now(),
        };
        let events = deliver.batch.len();
        self.usual_events = events;
        // Counted before it is sent: a fast sink has delivered it before this thread goes on.
        self.count_offered(events, true);
        match post(self.receiver.as_ref(), deliver) {
            Ok(()) => self.in_flight += 1,
            Err(refused) => {
                self.count_offered(events, false);
                refused.custody.cancel();
                self.parcels.push_front(Parcel {
                    batch: refused.batch,
                    failures: refused.failures,
                    taken_from: parcel.taken_from,
                });
                self.is_waiting = self.inlet.wait(&self.returns, self.generation);
            }
        }
    }
}

/// Puts a batch into the receiver's mailbox, or gives it back when nobody is there.
#[expect(clippy::disallowed_methods, reason = "the one module that sends")]
#[expect(
    clippy::result_large_err,
    reason = "a refused batch is rare and goes back whole"
)]
fn post(receiver: Option<&Recipient<Deliver>>, deliver: Deliver) -> Result<(), Deliver> {
    let Some(receiver) = receiver else {
        return Err(deliver);
    };
    match receiver.try_send(deliver) {
        Ok(()) => Ok(()),
        Err(SendError::Closed(deliver)) => Err(deliver),
        // actix counts a slot a sender, not our credits: past them the queue takes a message only without asking.
        Err(SendError::Full(deliver)) => {
            receiver.do_send(deliver);
            Ok(())
        }
    }
}

/// Sends a control message (start, stop, exit): rare, and bounded by the number of actors.
#[expect(clippy::disallowed_methods, reason = "the one module that sends")]
pub fn control<M>(receiver: &Recipient<M>, message: M)
where
    M: Message + Send,
    M::Result: Send,
{
    receiver.do_send(message);
}

/// Lets the other actors of an arbiter run: actix drains a whole mailbox in one poll, and a fast sender never lets it end.
#[derive(Debug, Default)]
pub struct Turn {
    messages: u32,
}

impl Turn {
    /// To be called once a message.
    pub fn message<A>(&mut self, ctx: &mut actix::Context<A>)
    where
        A: actix::Actor<Context = actix::Context<A>>,
    {
        use actix::AsyncContext;
        self.messages += 1;
        if self.messages == MESSAGES_PER_TURN_MAX {
            self.messages = 0;
            ctx.wait(actix::fut::wrap_future(tokio::task::yield_now()));
        }
    }
}
