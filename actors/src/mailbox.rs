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
