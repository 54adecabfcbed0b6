//! All sending between actors: inlets that outlive the actor behind them, and credits that bound its mailbox.
//!
//! actix's own capacity bounds nothing (`do_send` ignores it, `try_send` grants a message per clone) and a closed mailbox
//! swallows messages, so a sender here never sends without a credit, and gets the batch back when nobody takes it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use actix::dev::SendError;
use actix::prelude::{Message, Recipient};

use crate::batch::EventBatch;
use crate::dead_letter::Failure;
use crate::stats::{Gauge, Registry};

/// Batches that a sender may have on the way to one receiver: one being worked on and one waiting behind it.
pub const CREDITS: usize = 2;
/// Messages that one actor handles before it lets the others of its arbiter run.
pub const MESSAGES_PER_TURN_MAX: u32 = 64;

/// A batch on its way to the next actor. If that ends without taking it, it waits at the inlet for the one after.
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
    inlet: Arc<Inlet>,
    /// The inlet's generation that it was sent to.
    generation: u64,
}

impl Deliver {
    pub(crate) fn new(
        batch: EventBatch,
        failures: Vec<Failure>,
        custody: Custody,
        inlet: &Arc<Inlet>,
        generation: u64,
    ) -> Self {
        Self {
            batch,
            failures,
            custody,
            sent_at: Instant::now(),
            inlet: Arc::clone(inlet),
            generation,
        }
    }

    /// Takes the events over; nothing waits at the inlet any more when the rest is dropped.
    pub fn take(&mut self) -> (EventBatch, Vec<Failure>, Custody) {
        let custody = std::mem::replace(&mut self.custody, Custody(None));
        let (batch, failures) = (&mut self.batch, &mut self.failures);
        (std::mem::take(batch), std::mem::take(failures), custody)
    }
}

impl Drop for Deliver {
    fn drop(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let (batch, failures, custody) = self.take();
        let left = Left {
            batch,
            failures,
            custody,
        };
        self.inlet.keep(left, self.generation);
    }
}

/// What an actor that ended has left untaken.
#[derive(Debug)]
struct Left {
    batch: EventBatch,
    failures: Vec<Failure>,
    custody: Custody,
}

/// Tells a sender that one of its outlets has a credit again, or a new receiver.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct OutletReady {
    /// The sender's own number for the outlet.
    pub outlet: usize,
    pub(crate) credits: usize,
}

/// How an outlet's receivers reach its owner.
#[derive(Debug)]
pub(crate) struct ReturnAddress {
    owner: Recipient<OutletReady>,
    outlet: usize,
    in_use: Arc<Registry>,
}

impl ReturnAddress {
    pub(crate) fn new(
        owner: Recipient<OutletReady>,
        outlet: usize,
        in_use: Arc<Registry>,
    ) -> Arc<Self> {
        Arc::new(Self {
            owner,
            outlet,
            in_use,
        })
    }

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
    pub(crate) fn new(returns: Arc<ReturnAddress>) -> Self {
        in_use(&returns).add(1);
        Self(Some(returns))
    }

    /// Takes the token back without returning a credit: the batch was never sent.
    pub(crate) fn cancel(mut self) {
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
    /// Untaken batches for the next actor, in order. Bounded: their senders' credits stay in use.
    left: Vec<Left>,
    waiting: Vec<Arc<ReturnAddress>>,
}

impl Inlet {
    /// An inlet that nobody listens at yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Puts an actor behind the inlet, gives it what the one before has left, and wakes the senders that wait for one.
    pub fn open(self: &Arc<Self>, receiver: Recipient<Deliver>) {
        let generation = self.generation() + 1;
        let mut refused = Vec::new();
        let waiting = loop {
            let left = {
                let mut state = self.lock();
                if state.left.is_empty() {
                    // Only now can senders see the new actor: they come behind what was left.
                    state.left = refused;
                    state.receiver = Some(receiver);
                    self.generation.store(generation, Ordering::Release);
                    break std::mem::take(&mut state.waiting);
                }
                std::mem::take(&mut state.left)
            };
            for left in left {
                refused.extend(self.pass_on(left, &receiver, generation));
            }
        };
        for sender in waiting {
            sender.send(0);
        }
    }

    /// Keeps what an actor of that generation has left for the next one, which may be there already.
    fn keep(self: &Arc<Self>, mut left: Left, mut generation: u64) {
        loop {
            let (receiver, current) = {
                let mut state = self.lock();
                let current = self.generation();
                match &state.receiver {
                    Some(receiver) if generation != current => (receiver.clone(), current),
                    _ => {
                        state.left.push(left);
                        return;
                    }
                }
            };
            match self.pass_on(left, &receiver, current) {
                None => return,
                Some(refused) => (left, generation) = (refused, current),
            }
        }
    }

    /// Sends what was left, or gives it back if the receiver is gone as well. Not to be called with the lock held, which
    /// a batch that is dropped takes.
    fn pass_on(
        self: &Arc<Self>,
        left: Left,
        receiver: &Recipient<Deliver>,
        generation: u64,
    ) -> Option<Left> {
        let Left {
            batch,
            failures,
            custody,
        } = left;
        let deliver = Deliver::new(batch, failures, custody, self, generation);
        let mut refused = post(Some(receiver), deliver).err()?;
        let (batch, failures, custody) = refused.take();
        Some(Left {
            batch,
            failures,
            custody,
        })
    }

    /// Grows with each actor that is put behind the inlet.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn receiver(&self) -> (Option<Recipient<Deliver>>, u64) {
        let state = self.lock();
        (
            state.receiver.clone(),
            self.generation.load(Ordering::Acquire),
        )
    }

    /// Calls the sender back at the next [`Inlet::open`]; false if that has happened since `generation`.
    pub(crate) fn wait(&self, returns: &Arc<ReturnAddress>, generation: u64) -> bool {
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

/// Puts a batch into the receiver's mailbox, or gives it back when nobody is there.
#[expect(clippy::disallowed_methods, reason = "the one module that sends")]
#[expect(
    clippy::result_large_err,
    reason = "a refused batch is rare and goes back whole"
)]
pub(crate) fn post(receiver: Option<&Recipient<Deliver>>, deliver: Deliver) -> Result<(), Deliver> {
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
