//! `type: exec`: a child process per lane, in any language: an event a line in, an answer a line out.

mod answer;
mod group;
mod options;
mod process;
mod stderr_log;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::time::timeout;
use veltrix_actors::{
    AsyncHandler, Event, HandlerError, HandlerFactory, LaneHandler, Reply, StartError,
};

use self::answer::Wrong;
pub(crate) use self::group::KillOnExit;
use self::options::Command;
pub(crate) use self::options::{ExecFactory, ExecOptions, prepare};
use self::process::Process;

impl HandlerFactory for ExecFactory {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        Ok(LaneHandler::Async(Box::new(ExecHandler {
            command: Arc::clone(&self.command),
            process: Rc::default(),
        })))
    }
}

/// Starts its child with the first event, and anew after each failure; the lane's back-off spaces the starts.
struct ExecHandler {
    command: Arc<Command>,
    /// The child while it waits for an event. During an event it belongs to the future, so that dropping that one
    /// kills a child whose next answer would be taken for that of another event.
    process: Rc<RefCell<Option<Process>>>,
}

impl AsyncHandler for ExecHandler {
    fn handle(
        &mut self,
        event: &Event<'_>,
    ) -> LocalBoxFuture<'static, Result<Reply, HandlerError>> {
        let command = Arc::clone(&self.command);
        let idle = Rc::clone(&self.process);
        let line = format!("{}\n", event.line());
        let event_type = match &command.emit {
            Some(emit) => emit.clone(),
            None => event.event_type().into_owned(),
        };
        async move {
            let waiting = idle.borrow_mut().take();
            let was_started = waiting.is_some();
            // A child that ended or spoke unasked between two events is of no use, but that is not this event's fault.
            let ready = waiting.and_then(|mut process| process.is_waiting().then_some(process));
            if was_started && ready.is_none() {
                let handler = &command.handler;
                tracing::warn!(
                    handler,
                    "the command ended or wrote unasked between events and is started anew"
                );
            }
            let mut process = match ready {
                Some(process) => process,
                None => Process::start(&command).map_err(HandlerError::retryable)?,
            };
            let answer = match timeout(command.timeout, process.exchange(&line)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(broken)) => {
                    let status = process.end().await;
                    let reason = process::reason(&broken, status, &command.program);
                    return Err(HandlerError::retryable(reason));
                }
                Err(_) => {
                    let handler = &command.handler;
                    let pid = process.pid.as_raw_pid();
                    tracing::warn!(
                        handler,
                        pid,
                        timeout = ?command.timeout,
                        "the command did not answer in time: it is killed with its children, and started anew"
                    );
                    process.end().await;
                    return Err(HandlerError::Timeout(command.timeout));
                }
            };
            match answer::read(&answer, event_type) {
                Ok(results) => {
                    *idle.borrow_mut() = Some(process);
                    Ok(Reply::Results(results))
                }
                Err(Wrong::Result(reason)) => {
                    *idle.borrow_mut() = Some(process);
                    Err(HandlerError::Permanent(reason))
                }
                Err(Wrong::Protocol(reason)) => {
                    process.end().await;
                    Err(HandlerError::retryable(reason))
                }
            }
        }
        .boxed_local()
    }
}

#[cfg(test)]
mod tests;
