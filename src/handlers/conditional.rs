//! `when` for every handler that does not judge it itself: the condition is evaluated in the lane, before the handler.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use veltrix_actors::{
    AsyncHandler, Event, Handler, HandlerError, HandlerFactory, LaneHandler, Output, Refusal,
    Reply, StartError,
};

use crate::config::Section;
use crate::expression::{Condition, ExpressionError, Located, Verdict};

/// Puts the section's `when`, if it has one, before the handlers of `inner`.
pub(crate) fn wrap(
    section: &Section<'_>,
    inner: Arc<dyn HandlerFactory>,
) -> Option<Arc<dyn HandlerFactory>> {
    let wrapped = around(section.when(), inner);
    wrapped.map_err(|error| section.problem("when", error)).ok()
}

/// Puts the condition, if there is one, before the handlers of `inner`.
pub(crate) fn around(
    when: Option<&str>,
    inner: Arc<dyn HandlerFactory>,
) -> Result<Arc<dyn HandlerFactory>, ExpressionError> {
    let Some(when) = when else {
        return Ok(inner);
    };
    Ok(Arc::new(ConditionalFactory {
        condition: Arc::new(Condition::compile(when)?),
        inner,
    }))
}

struct ConditionalFactory {
    condition: Arc<Condition>,
    inner: Arc<dyn HandlerFactory>,
}

impl HandlerFactory for ConditionalFactory {
    fn build(&self, lane: usize) -> Result<LaneHandler, StartError> {
        let judge = Judge {
            condition: self.condition.clone(),
            located: Located::default(),
        };
        Ok(match self.inner.build(lane)? {
            LaneHandler::Sync(inner) => LaneHandler::Sync(Box::new(Conditional { judge, inner })),
            LaneHandler::Async(inner) => LaneHandler::Async(Box::new(Conditional { judge, inner })),
        })
    }

    fn is_conditional(&self) -> bool {
        true
    }

    fn lanes(&self) -> Option<usize> {
        self.inner.lanes()
    }

    fn is_isolated(&self) -> bool {
        self.inner.is_isolated()
    }
}

struct Conditional<H: ?Sized> {
    judge: Judge,
    inner: Box<H>,
}

struct Judge {
    condition: Arc<Condition>,
    /// Scratch, so that judging allocates nothing.
    located: Located,
}

impl Judge {
    /// Why the event is not wanted, if it is not.
    fn refusal(&mut self, event: &Event<'_>) -> Result<Option<Refusal>, HandlerError> {
        match self.condition.judge(event, &mut self.located) {
            Ok(Verdict::Holds) => Ok(None),
            Ok(Verdict::Fails) => Ok(Some(Refusal::False)),
            Ok(Verdict::Missing(_)) => Ok(Some(Refusal::Missing)),
            // A condition has no state: what fails once fails always.
            Err(error) => Err(HandlerError::Permanent(format!("when: {error}"))),
        }
    }
}

impl Handler for Conditional<dyn Handler> {
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        match self.judge.refusal(event)? {
            Some(refusal) => {
                out.refuse(refusal);
                Ok(())
            }
            None => self.inner.handle(event, out),
        }
    }
}

impl AsyncHandler for Conditional<dyn AsyncHandler> {
    fn handle(
        &mut self,
        event: &Event<'_>,
    ) -> LocalBoxFuture<'static, Result<Reply, HandlerError>> {
        match self.judge.refusal(event) {
            Ok(Some(refusal)) => futures::future::ready(Ok(Reply::Refused(refusal))).boxed_local(),
            Ok(None) => self.inner.handle(event),
            Err(error) => futures::future::ready(Err(error)).boxed_local(),
        }
    }
}
