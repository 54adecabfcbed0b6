//! What a handler is: the traits that components and users' own code implement.

use std::time::Duration;

use futures::future::LocalBoxFuture;

use crate::event::Event;
use crate::guard;
use crate::output::Output;
use crate::supervision::StartError;

/// Processes events one at a time in a lane.
///
/// It runs inside a guard: a panic costs this event an attempt and the lane a fresh handler, nothing else. Calls are
/// at least once, so side effects should bear a repeat; what was written to `out` before a failure is taken back.
/// The lane's thread is shared unless the handler is isolated: do not block in it for long.
pub trait Handler: 'static {
    /// Handles one event and writes its results.
    ///
    /// # Errors
    /// [`HandlerError::Retryable`] has the event tried again, [`HandlerError::Permanent`] makes it a dead letter.
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError>;
}

/// Processes events that have to wait for somebody else, one at a time in a lane, without blocking the lane's thread.
pub trait AsyncHandler: 'static {
    /// Starts handling one event. Dropping the future abandons it.
    fn handle(&mut self, event: &Event<'_>)
    -> LocalBoxFuture<'static, Result<Reply, HandlerError>>;
}

/// What an asynchronous handler answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// These results, in order; none is fine.
    Results(Vec<ReplyResult>),
    /// The handler's condition does not hold for the event.
    Refused(Refusal),
}

/// One result of an asynchronous handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyResult {
    /// The event as it came.
    Pass,
    /// A complete event of the component's own making: one line of CloudEvents JSON.
    Event(String),
    /// The `data` of a derived result: JSON on one line.
    Data {
        /// The result's type.
        event_type: String,
        /// Raw JSON.
        data: String,
    },
}

/// Why a handler's condition does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is false.
    False,
    /// It names a path that the event does not have.
    Missing,
}

/// An event could not be handled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// It may work when tried again, not before `after` if that is given.
    #[error("{reason}")]
    Retryable {
        /// What went wrong.
        reason: String,
        /// The earliest time of the next attempt.
        after: Option<Duration>,
    },
    /// The component did not answer in time; tried again.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It will never work for this event.
    #[error("{0}")]
    Permanent(String),
}

impl HandlerError {
    /// An error that a later attempt may not meet.
    pub fn retryable(reason: impl Into<String>) -> Self {
        Self::Retryable {
            reason: reason.into(),
            after: None,
        }
    }

    /// An error that every attempt would meet.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self::Permanent(reason.into())
    }
}

/// A lane's handler.
pub enum LaneHandler {
    /// Answers at once.
    Sync(Box<dyn Handler>),
    /// Answers later.
    Async(Box<dyn AsyncHandler>),
}

/// Makes the handler of each lane, and makes it anew after a panic. It runs on the lane's thread.
pub trait HandlerFactory: Send + Sync {
    /// A fresh handler for lane number `lane`.
    ///
    /// # Errors
    /// What keeps the handler from starting; the supervisor tries again within its restart budget.
    fn build(&self, lane: usize) -> Result<LaneHandler, StartError>;

    /// Whether handlers refuse events by a condition (`when`).
    fn is_conditional(&self) -> bool {
        false
    }

    /// How many lanes the component wants for its own reasons; `None` leaves it to the config.
    fn lanes(&self) -> Option<usize> {
        None
    }

    /// Whether the handler may block or burn CPU, and so gets a thread of its own unless the config says otherwise.
    fn is_isolated(&self) -> bool {
        false
    }
}

/// Fails an attempt that takes longer than its deadline; dropping the answer abandons it.
pub(crate) async fn within(
    deadline: Option<Duration>,
    answer: impl Future<Output = Result<Reply, HandlerError>>,
) -> Result<Reply, HandlerError> {
    match deadline {
        None => answer.await,
        Some(deadline) => match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(HandlerError::Timeout(deadline)),
        },
    }
}

/// Has the factory build the handler of a lane.
pub(crate) fn build(
    name: &str,
    factory: &dyn HandlerFactory,
    lane: usize,
) -> Result<LaneHandler, String> {
    match guard::guard("handler", name, || factory.build(lane)) {
        Ok(Ok(handler)) => Ok(handler),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(format!("the factory panicked: {panic}")),
    }
}

/// Has the factory build the handler of a lane, and drops it: what is wrong with it is found before anything depends on it.
///
/// # Errors
/// Why it cannot be built.
pub fn try_to_build(name: &str, factory: &dyn HandlerFactory) -> Result<(), String> {
    let handler = build(name, factory, 0)?;
    let dropped = guard::guard("handler", name, || drop(handler));
    dropped.map_err(|panic| format!("its drop panicked: {panic}"))
}
