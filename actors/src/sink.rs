//! What a sink is: the traits that components implement.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;

use crate::batch::EventBatch;
use crate::event::Event;
use crate::mailbox::Deliver;
use crate::origin::Origin;
use crate::shipment::Shipment;
use crate::supervision::{Backoff, StartError};
use crate::written::Written;

/// A sink that writes at once: events are appended to its buffers, and a flush hands them over.
///
/// After a panic the sink is dropped and built anew by its factory, and what was appended since the last successful flush is
/// appended again; so is what an actor that was lost had not flushed. What the sink had handed over by then comes twice: what a
/// flush wrote that panicked or failed, and what an `append` writes by itself. A sink that only gathers until it is flushed
/// repeats nothing after a panic in `append`.
///
/// An event at which `append` panics [`SINK_ATTEMPTS_MAX`](crate::SINK_ATTEMPTS_MAX) times is a dead letter. A flush that panics
/// is tried again like one that fails.
///
/// What a flush has handed over is the sink's: the senders get their credits back, and the memory is freed. Whether it is *done*
/// as well, the sink says itself, at once unless it implements [`Sink::written`].
pub trait Sink: 'static {
    /// Adds one event to the buffers.
    ///
    /// # Errors
    /// Why this event can never be delivered; it becomes a dead letter.
    fn append(&mut self, event: &Event<'_>) -> Result<(), String>;

    /// Hands over everything appended since the last successful flush. What a failed flush has already handed over must not
    /// be repeated by the next one.
    ///
    /// # Errors
    /// Why it did not work; it is tried again.
    fn flush(&mut self) -> Result<(), FlushError>;

    /// Takes what the successful flush before has handed over. A sink that brings it to safety only later keeps it until
    /// then, on whatever thread; what it keeps is bounded by itself.
    fn written(&mut self, written: Written) {
        written.done();
    }

    /// Somebody waits for what was written to be done: a drain, or a source without memory. To be hurried, not waited for.
    fn hurry(&mut self) {}

    /// Bytes waiting in the buffers.
    fn buffered_bytes(&self) -> usize;
}

/// Why a flush failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// Something is left, and the next flush goes on with it.
    #[error("{0}")]
    Unwritten(String),
    /// What was handed over since the last successful flush cannot be relied on: the sink is built anew, and gets all of it
    /// again.
    #[error("{0}")]
    Unsafe(String),
    /// Nobody will ever take anything again, from this sink or from one built anew: it is not tried, and the process is to
    /// stop. What is left is kept where its source keeps it.
    #[error("{0}")]
    Gone(String),
}

/// A sink that waits for a receiver, with one delivery at a time in each of its slots.
///
/// After a panic the sink is dropped and built anew by its factory, while deliveries in other slots go on, and the delivery is tried
/// again: several events one by one, and an event at which it panics [`SINK_ATTEMPTS_MAX`](crate::SINK_ATTEMPTS_MAX) times
/// is a dead letter. What the receiver had taken by then comes twice, as after a failed delivery and after the loss of an actor.
pub trait AsyncSink: 'static {
    /// Delivers the events together. Slots are independent; events of one key always come through the same slot.
    fn deliver(
        &mut self,
        slot: usize,
        events: Consignment,
    ) -> LocalBoxFuture<'static, Result<(), DeliveryError>>;

    /// Deliveries under way at once.
    fn slots(&self) -> usize;

    /// Events delivered together at most.
    fn events_per_delivery(&self) -> usize;

    /// Bytes of the lines delivered together at most, unless a single event has more.
    fn bytes_per_delivery(&self) -> usize {
        usize::MAX
    }
}

/// Why a delivery failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// It may work later, not before `after` if that is given.
    #[error("{reason}")]
    Retryable {
        /// What went wrong.
        reason: String,
        /// The earliest time of the next attempt.
        after: Option<Duration>,
    },
    /// The receiver refuses the events for good.
    #[error("{0}")]
    Permanent(String),
    /// The receiver takes nothing at all from this sink until somebody mends something, such as its credentials. The whole
    /// sink is paused, one delivery tries now and then, and nothing is given up meanwhile, whatever the time.
    #[error("{reason}")]
    Blocked {
        /// What went wrong.
        reason: String,
        /// The earliest time of the next attempt.
        after: Option<Duration>,
    },
}

/// A sink's way of working.
pub enum AnySink {
    /// Writes at once.
    Sync(Box<dyn Sink>),
    /// Waits for a receiver.
    Async(Box<dyn AsyncSink>),
}

/// Makes a sink for each (re)start of its actor. It runs on the sink's thread.
pub trait SinkFactory: Send + Sync {
    /// A fresh sink.
    ///
    /// # Errors
    /// What keeps it from starting.
    fn build(&self) -> Result<AnySink, StartError>;

    /// Whether it blocks its thread on files or pipes, and so needs one of its own.
    fn is_blocking(&self) -> bool {
        false
    }

    /// When failed deliveries are tried again, and when they are given up.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::default()
    }
}

/// How a sink tries again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The waits between attempts.
    pub backoff: Backoff,
    /// Time after the first attempt at which events are given up; `None` never.
    pub max_elapsed: Option<Duration>,
}

impl Default for RetryPolicy {
    /// Without end, with full jitter: each wait is random between nothing and the whole, so that those who failed together
    /// do not come back together (Brooker, "Exponential Backoff And Jitter", AWS 2015).
    fn default() -> Self {
        Self {
            backoff: Backoff {
                jitter: 1.0,
                ..Backoff::default()
            },
            max_elapsed: None,
        }
    }
}

/// Some events of one slot, held until they are delivered.
#[derive(Clone)]
pub struct Consignment {
    pub(crate) events: Vec<(Rc<Held>, usize)>,
}

/// A batch that the sink is not through with; when it is with the last event, its custody is returned.
pub(crate) struct Held {
    /// `None` in a trial, where nobody waits for it.
    deliver: Option<Deliver>,
    shipment: Arc<Shipment>,
    /// Events that are neither delivered nor given up.
    left: Cell<usize>,
}

impl Held {
    pub(crate) fn new(deliver: Deliver) -> Rc<Self> {
        let shipment = Arc::clone(deliver.shipment());
        let ended: usize = shipment.ended().iter().map(ExactSizeIterator::len).sum();
        Rc::new(Self {
            left: Cell::new(shipment.batch.len() - ended),
            deliver: Some(deliver),
            shipment,
        })
    }

    pub(crate) fn for_trial(batch: EventBatch) -> Rc<Self> {
        Rc::new(Self {
            left: Cell::new(batch.len()),
            deliver: None,
            shipment: Arc::new(Shipment::new(batch, Vec::new())),
        })
    }

    pub(crate) fn batch(&self) -> &EventBatch {
        &self.shipment.batch
    }

    /// The sink has delivered these events: they are done.
    pub(crate) fn complete(&self, events: std::ops::Range<usize>) {
        self.shipment.complete(events.clone());
        self.leave(events.len());
    }

    /// The sink has given the event up. Returns whom to tell once it is a dead letter.
    pub(crate) fn give_up(&self, event: usize) -> Arc<Origin> {
        let origin = self.shipment.give_up(event);
        self.leave(1);
        origin
    }

    fn leave(&self, events: usize) {
        self.left.set(self.left.get() - events);
        if let Some(deliver) = &self.deliver
            && self.left.get() == 0
        {
            drop(deliver.settle());
        }
    }
}

impl Consignment {
    /// Number of events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether the events are still those of the actor that holds them: all of them were sent to the same one.
    pub(crate) fn is_current(&self) -> bool {
        let deliver = self
            .events
            .first()
            .and_then(|(held, _)| held.deliver.as_ref());
        deliver.is_none_or(Deliver::is_current)
    }

    /// Whether there is no event; the sink actor delivers none such.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The events in order.
    pub fn iter(&self) -> impl Iterator<Item = Event<'_>> {
        self.events
            .iter()
            .map(|(held, index)| held.batch().event(*index))
    }
}
