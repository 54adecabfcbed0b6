//! What answers in the place of a component that a handler would call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use veltrix_actors::{
    AsyncHandler, Event, HandlerError, HandlerFactory, LaneHandler, Reply, ReplyResult, StartError,
};

use crate::config::{Emits, HandlerConfig, Stub, StubAnswer};
use crate::expression::{Condition, Located, Verdict};
use crate::handlers::conditional;

/// How long a stub that does not answer claims to have been waited for.
const CLAIMED_WAIT: Duration = Duration::from_secs(1);

/// Answers in the place of the handler's component, behind the handler's own condition. Without answers, every event that
/// comes is refused.
pub(super) fn factory(
    handler: &HandlerConfig,
    stubs: &[Stub],
) -> Result<Arc<dyn HandlerFactory>, String> {
    let compiled = stubs.iter().map(|stub| {
        let when = stub.when.as_deref().map(Condition::compile).transpose();
        Ok(Answer {
            when: when.map_err(|error| error.to_string())?,
            left: stub.times.map(AtomicU32::new),
            answer: stub.answer.clone(),
        })
    });
    let otherwise = match stubs.is_empty() {
        true => format!(
            "`{}` is of type `{}`: the test neither has a stub for it nor says that it is live",
            handler.name, handler.kind
        ),
        false => "no stub of this test answers the event".to_owned(),
    };
    let inner = Arc::new(StubFactory {
        script: Arc::new(Script {
            answers: compiled.collect::<Result<_, String>>()?,
            otherwise,
            emits: handler.emits.clone(),
        }),
        replaced: handler.factory.clone(),
    });
    let when = handler.when.as_ref().map(|when| when.text.as_str());
    conditional::around(when, inner).map_err(|error| error.to_string())
}

/// Shared by all lanes: an answer that comes once comes once.
struct Script {
    answers: Vec<Answer>,
    otherwise: String,
    emits: Emits,
}

struct Answer {
    when: Option<Condition>,
    /// How often it is still given.
    left: Option<AtomicU32>,
    answer: StubAnswer,
}

struct StubFactory {
    script: Arc<Script>,
    replaced: Arc<dyn HandlerFactory>,
}

impl HandlerFactory for StubFactory {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        Ok(LaneHandler::Async(Box::new(StubHandler {
            script: Arc::clone(&self.script),
            located: Located::default(),
        })))
    }

    fn lanes(&self) -> Option<usize> {
        self.replaced.lanes()
    }

    fn is_isolated(&self) -> bool {
        self.replaced.is_isolated()
    }
}

struct StubHandler {
    script: Arc<Script>,
    located: Located,
}

impl StubHandler {
    fn answer(&mut self, event: &Event<'_>) -> Result<Reply, HandlerError> {
        for answer in &self.script.answers {
            let verdict = match &answer.when {
                Some(when) => when.judge(event, &mut self.located),
                None => Ok(Verdict::Holds),
            };
            let verdict =
                verdict.map_err(|error| HandlerError::permanent(format!("stub: {error}")))?;
            if verdict == Verdict::Holds && answer.take() {
                return answer.reply(&self.script.emits, event);
            }
        }
        Err(HandlerError::permanent(self.script.otherwise.clone()))
    }
}

impl AsyncHandler for StubHandler {
    fn handle(
        &mut self,
        event: &Event<'_>,
    ) -> LocalBoxFuture<'static, Result<Reply, HandlerError>> {
        ready(self.answer(event)).boxed_local()
    }
}

impl Answer {
    /// Whether it is given once more.
    fn take(&self) -> bool {
        let Some(left) = &self.left else {
            return true;
        };
        let one_less = |left: u32| left.checked_sub(1);
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .is_ok()
    }

    fn reply(&self, emits: &Emits, event: &Event<'_>) -> Result<Reply, HandlerError> {
        let results = match &self.answer {
            StubAnswer::Data(data) => vec![ReplyResult::Data {
                event_type: match emits {
                    Emits::Type(emitted) => emitted.clone(),
                    Emits::Same | Emits::Unknown => event.event_type().into_owned(),
                },
                data: data.clone(),
            }],
            StubAnswer::Events(lines) => lines.iter().cloned().map(ReplyResult::Event).collect(),
            StubAnswer::Error(reason) => return Err(HandlerError::retryable(reason.clone())),
            StubAnswer::Refused(reason) => return Err(HandlerError::permanent(reason.clone())),
            StubAnswer::Timeout => return Err(HandlerError::Timeout(CLAIMED_WAIT)),
        };
        Ok(Reply::Results(results))
    }
}
