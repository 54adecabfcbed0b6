//! Handlers that fail by plan, inside the guard of their lanes.

use std::sync::Arc;

use futures::future::LocalBoxFuture;

use super::point::{End, FaultPoint, abort_actor};
use crate::event::Event;
use crate::handler::{
    AsyncHandler, Handler, HandlerError, HandlerFactory, LaneHandler, Reply, ReplyResult,
};
use crate::output::Output;
use crate::supervision::StartError;

/// Makes handlers that fail by plan.
pub(super) struct FaultyHandlerFactory {
    point: Arc<FaultPoint>,
    inner: Arc<dyn HandlerFactory>,
}

impl FaultyHandlerFactory {
    pub(super) fn new(point: Arc<FaultPoint>, inner: Arc<dyn HandlerFactory>) -> Self {
        Self { point, inner }
    }
}

impl HandlerFactory for FaultyHandlerFactory {
    fn build(&self, lane: usize) -> Result<LaneHandler, StartError> {
        let point = self.point.clone();
        Ok(match self.inner.build(lane)? {
            LaneHandler::Sync(inner) => {
                LaneHandler::Sync(Box::new(FaultyHandler { point, lane, inner }))
            }
            LaneHandler::Async(inner) => {
                LaneHandler::Async(Box::new(FaultyAsyncHandler { point, lane, inner }))
            }
        })
    }

    fn is_conditional(&self) -> bool {
        self.inner.is_conditional()
    }

    fn lanes(&self) -> Option<usize> {
        self.inner.lanes()
    }

    fn is_isolated(&self) -> bool {
        self.inner.is_isolated()
    }
}

/// The error or the panic; returns only errors.
fn fail(point: &FaultPoint, end: End) -> HandlerError {
    match end {
        End::Panic { .. } => point.panic(),
        End::AbortActor => abort_actor(),
        End::Error { retryable: true } => HandlerError::retryable(point.reason("error")),
        End::Error { retryable: false } => HandlerError::permanent(point.reason("error")),
    }
}

struct FaultyHandler {
    point: Arc<FaultPoint>,
    lane: usize,
    inner: Box<dyn Handler>,
}

impl Handler for FaultyHandler {
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        let strike = self.point.strike(event, Some(self.lane));
        strike.block();
        let is_late = strike.end == Some(End::Panic { late: true });
        if let Some(end) = strike.end.filter(|_| !is_late) {
            return Err(fail(&self.point, end));
        }
        match strike.corruption {
            None => self.inner.handle(event, out)?,
            Some(corruption) => {
                let (record, line) = corruption.of(event);
                let changed = Event::new(&record, &line);
                self.inner.handle(&changed, &mut out.of_changed(changed))?;
            }
        }
        if is_late {
            // The results are written already, and have to be taken back.
            self.point.panic();
        }
        Ok(())
    }
}

struct FaultyAsyncHandler {
    point: Arc<FaultPoint>,
    lane: usize,
    inner: Box<dyn AsyncHandler>,
}

impl AsyncHandler for FaultyAsyncHandler {
    fn handle(
        &mut self,
        event: &Event<'_>,
    ) -> LocalBoxFuture<'static, Result<Reply, HandlerError>> {
        let strike = self.point.strike(event, Some(self.lane));
        strike.hang();
        let changed = strike.corruption.map(|corruption| corruption.of(event));
        let (pause, point) = (strike.pause(), self.point.clone());
        if let Some(end) = strike.end {
            return Box::pin(async move {
                tokio::time::sleep(pause).await;
                Err(fail(&point, end))
            });
        }
        let answer = match &changed {
            None => self.inner.handle(event),
            Some((record, line)) => self.inner.handle(&Event::new(record, line)),
        };
        if pause.is_zero() && changed.is_none() {
            return answer;
        }
        Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let reply = answer.await?;
            Ok(match changed {
                None => reply,
                Some((_, line)) => passing(reply, &line),
            })
        })
    }
}

/// The reply with the changed event where the event as it came is passed on.
fn passing(reply: Reply, line: &str) -> Reply {
    match reply {
        Reply::Results(mut results) => {
            for result in &mut results {
                if *result == ReplyResult::Pass {
                    *result = ReplyResult::Event(line.to_owned());
                }
            }
            Reply::Results(results)
        }
        refused => refused,
    }
}
