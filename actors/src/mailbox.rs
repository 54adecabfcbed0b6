//! All sending between actors: inlets that outlive the actor behind them and keep its batches, and credits that bound its mailbox.
//!
//! actix's own capacity bounds nothing (`do_send` ignores it, `try_send` grants a message per clone) and a mailbox dies with
//! its actor. So a sender never sends without a credit, and the inlet keeps each batch until the receiver has settled it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::prelude::{Message, Recipient};

use crate::batch::EventBatch;
use crate::shipment::Shipment;
use crate::stats::Registry;
use crate::succession::Successor;

/// Batches that a sender may have on the way to one receiver: one being worked on and one waiting behind it.
pub const CREDITS: usize = 2;
/// Messages that one actor handles before it lets the others of its arbiter run.
pub const MESSAGES_PER_TURN_MAX: u32 = 64;

/// A batch on its way to an actor. The inlet keeps it until it is settled, whatever becomes of the message.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    shipment: Arc<Shipment>,
    inlet: Arc<Inlet>,
    /// Which of the inlet's actors it was sent to.
    opening: u64,
    is_resent: bool,
}

impl Deliver {
    /// The events.
    pub fn batch(&self) -> &EventBatch {
        &self.shipment.batch
    }

    /// The events, and how far they are.
    pub(crate) fn shipment(&self) -> &Arc<Shipment> {
        &self.shipment
    }

    /// Whether an actor before this one had it in its hands.
    pub(crate) fn is_resent(&self) -> bool {
        self.is_resent
    }

    /// Has the inlet forget the batch: the receiver answers for its events now, or they are done. Dropping the custody
    /// returns the sender's credit.
    ///
    /// None if a predecessor has done so after the batch was sent again.
    pub fn settle(&self) -> Option<Custody> {
        self.inlet.settle(&self.shipment)
    }

    /// Whether no other actor has taken the place of the one that this was sent to.
    pub(crate) fn is_current(&self) -> bool {
        self.inlet.lock().openings == self.opening
    }

    /// As [`Deliver::settle`], unless another actor has taken the place of the one that this was sent to: then it is that
    /// one's, and false.
    pub(crate) fn settle_if_current(&self) -> bool {
        let mut state = self.inlet.lock();
        if state.openings != self.opening {
            return false;
        }
        let custody = state.settle(&self.shipment);
        drop(state);
        drop(custody);
        true
    }
}

/// Tells a sender that one of its outlets has a credit again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct OutletReady {
    /// The sender's own number for the outlet.
    pub outlet: usize,
}

/// One outlet's account of credits, and how its owner hears of returned ones.
#[derive(Debug)]
pub(crate) struct Credits {
    // Taken by the outlet, returned on the receiver's thread.
    in_flight: AtomicUsize,
    /// The outlet has something to send and no credit; otherwise a returned credit wakes nobody.
    is_wanted: AtomicBool,
    // An outlet outlives a lane's actor, whose successor is told then.
    owner: Mutex<Recipient<OutletReady>>,
    outlet: usize,
    registry: Arc<Registry>,
}

impl Credits {
    pub(crate) fn new(
        owner: Recipient<OutletReady>,
        outlet: usize,
        registry: Arc<Registry>,
    ) -> Arc<Self> {
        Arc::new(Self {
            in_flight: AtomicUsize::new(0),
            is_wanted: AtomicBool::new(false),
            owner: Mutex::new(owner),
            outlet,
            registry,
        })
    }

    /// Tells `owner` from now on.
    pub(crate) fn readdress(&self, owner: Recipient<OutletReady>) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = owner;
    }

    pub(crate) fn are_left(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) < CREDITS
    }

    /// As [`Credits::are_left`]; if there is none, the owner is told when one returns.
    pub(crate) fn are_left_or_wanted(&self) -> bool {
        if self.are_left() {
            return true;
        }
        self.is_wanted.store(true, Ordering::SeqCst);
        // One that returned in between has not seen the flag.
        self.are_left()
    }

    /// Takes a credit; the custody returns it.
    pub(crate) fn take(self: &Arc<Self>) -> Custody {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        self.registry.credits_in_use.add(1);
        Custody(Arc::clone(self))
    }

    fn put_back(&self) {
        self.registry.credits_in_use.add(-1);
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.is_wanted.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Has the owner look after its outlet.
    pub(crate) fn wake(&self) {
        let ready = OutletReady {
            outlet: self.outlet,
        };
        let owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded by the credits given out. A closed mailbox needs no credit any more.
        #[expect(clippy::disallowed_methods, reason = "the one module that sends")]
        owner.do_send(ready);
    }
}

/// The *custody* ack: whoever drops it has taken the batch over, and the sender may send another.
#[derive(Debug)]
#[must_use = "dropping it returns the credit"]
pub struct Custody(Arc<Credits>);

impl Drop for Custody {
    fn drop(&mut self) {
        self.0.put_back();
    }
}

/// Where batches for one actor go in. It outlives the actor, keeps what is not settled, and sends it to the next one again.
#[derive(Debug, Default)]
pub struct Inlet {
    // Shared and locked, because senders and the receiver are on different threads; held for moments only.
    state: Mutex<InletState>,
}

/// What was sent to an actor and is not settled: each batch holds a credit of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Batches.
    pub batches: usize,
    /// Events of these batches that are neither handled nor handed on.
    pub events: usize,
    /// How long the oldest batch has waited.
    pub oldest: Option<Duration>,
}

#[derive(Debug, Default)]
struct InletState {
    receiver: Option<Recipient<Deliver>>,
    /// How many actors there have been, one after the other.
    openings: u64,
    is_closed: bool,
    /// Who gets what still comes, once nobody will listen here again.
    successor: Option<Arc<Successor>>,
    /// Sent and not settled, in order. Bounded by the senders' credits.
    window: VecDeque<Sent>,
}

#[derive(Debug)]
struct Sent {
    shipment: Arc<Shipment>,
    /// None if its sender is not to be told: it came from another inlet, in parts.
    custody: Option<Custody>,
}

impl Inlet {
    /// An inlet that nobody listens at yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Puts an actor behind the inlet and sends it, in order, what the one before has not settled.
    pub fn open(self: &Arc<Self>, receiver: Recipient<Deliver>) {
        let mut state = self.lock();
        let is_resent = state.receiver.is_some();
        state.openings += 1;
        for sent in &state.window {
            self.post(&receiver, &sent.shipment, state.openings, is_resent);
        }
        state.receiver = Some(receiver);
    }

    /// Keeps the batch, and sends it if somebody listens. Behind a closed inlet it is dropped, and its sender gets the credit.
    pub(crate) fn send(self: &Arc<Self>, shipment: Shipment, custody: Custody) {
        self.take_in(Arc::new(shipment), Some(custody));
    }

    pub(crate) fn take_in(self: &Arc<Self>, shipment: Arc<Shipment>, custody: Option<Custody>) {
        let mut state = self.lock();
        if state.is_closed {
            // Not under the lock: whoever gets the credit may send again at once.
            drop(state);
            return;
        }
        if let Some(successor) = state.successor.clone() {
            drop(state);
            return successor.take_over(&shipment, custody);
        }
        if let Some(receiver) = &state.receiver {
            self.post(receiver, &shipment, state.openings, false);
        }
        state.window.push_back(Sent { shipment, custody });
    }

    /// Nobody will listen here again: what is not settled, and what still comes, is `successor`'s.
    pub fn hand_over(&self, successor: Successor) {
        let successor = Arc::new(successor);
        let mut state = self.lock();
        state.receiver = None;
        // With the lock held, so that nothing that comes meanwhile gets ahead. It is never held the other way round: a
        // successor is younger.
        for Sent { shipment, custody } in std::mem::take(&mut state.window) {
            successor.take_over(&shipment, custody);
        }
        state.successor = Some(successor);
    }

    /// Sends nothing on until the next actor opens the inlet; what comes meanwhile is kept.
    pub fn shut(&self) {
        self.lock().receiver = None;
    }

    /// Nobody will ever listen here again. Returns what is not settled.
    pub(crate) fn close(&self) -> Vec<Arc<Shipment>> {
        let mut state = self.lock();
        state.is_closed = true;
        let window = std::mem::take(&mut state.window);
        drop(state);
        window.into_iter().map(|sent| sent.shipment).collect()
    }

    /// To be called with the lock held, so that the order of messages is that of the window.
    #[expect(clippy::disallowed_methods, reason = "the one module that sends")]
    fn post(
        self: &Arc<Self>,
        receiver: &Recipient<Deliver>,
        shipment: &Arc<Shipment>,
        opening: u64,
        is_resent: bool,
    ) {
        // Lost if the mailbox is closed; the window has it for the next actor.
        receiver.do_send(Deliver {
            shipment: Arc::clone(shipment),
            inlet: Arc::clone(self),
            opening,
            is_resent,
        });
    }

    fn settle(&self, shipment: &Arc<Shipment>) -> Option<Custody> {
        self.lock().settle(shipment)
    }

    /// What is not settled, in order.
    pub(crate) fn window(&self) -> Vec<Arc<Shipment>> {
        let state = self.lock();
        let shipments = state.window.iter();
        shipments.map(|sent| Arc::clone(&sent.shipment)).collect()
    }

    /// The oldest batch that is not settled.
    pub(crate) fn oldest(&self) -> Option<Arc<Shipment>> {
        self.lock()
            .window
            .front()
            .map(|sent| Arc::clone(&sent.shipment))
    }

    /// Batches that are not settled.
    pub fn unsettled(&self) -> usize {
        self.lock().window.len()
    }

    /// What waits here, as the outside sees it.
    pub fn backlog(&self) -> Backlog {
        let state = self.lock();
        let shipments = || state.window.iter().map(|sent| &sent.shipment);
        Backlog {
            batches: state.window.len(),
            events: shipments().map(|shipment| shipment.unfinished()).sum(),
            oldest: shipments()
                .next()
                .map(|shipment| shipment.sent_at.elapsed()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, InletState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InletState {
    fn settle(&mut self, shipment: &Arc<Shipment>) -> Option<Custody> {
        let is_it = |sent: &Sent| Arc::ptr_eq(&sent.shipment, shipment);
        // Nearly always the first: only sinks with several slots finish out of order.
        let index = self.window.iter().position(is_it)?;
        self.window.remove(index)?.custody
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
