//! Veltrix with the same work as handlers of its own: `type: story`, and `type: story-waiting` if it has to wait.

use std::process::ExitCode;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use veltrix::{AsyncHandler, Event, Handler, HandlerError, Output, Reply, ReplyResult, Veltrix};
use veltrix_story_system::{RESULT_TYPE, Work, WorkOptions};

struct Story(Work);

impl Handler for Story {
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        run(&mut self.0, event)?;
        out.emit(RESULT_TYPE, self.0.answer())
    }
}

struct WaitingStory(Work);

impl AsyncHandler for WaitingStory {
    fn handle(
        &mut self,
        event: &Event<'_>,
    ) -> LocalBoxFuture<'static, Result<Reply, HandlerError>> {
        let worked = run(&mut self.0, event);
        let (data, wait) = (self.0.answer().to_owned(), self.0.wait());
        async move {
            worked?;
            tokio::time::sleep(wait).await;
            Ok(Reply::Results(vec![ReplyResult::Data {
                event_type: RESULT_TYPE.to_owned(),
                data,
            }]))
        }
        .boxed_local()
    }
}

fn run(work: &mut Work, event: &Event<'_>) -> Result<u64, HandlerError> {
    work.run(event)
        .map_err(|_| HandlerError::retryable("it fails on purpose"))
}

fn main() -> ExitCode {
    let summary = "The work of the benchmark `story`";
    Veltrix::new()
        .handler("story", summary, |options: &WorkOptions| {
            Ok(Story(Work::new(options.clone())))
        })
        .async_handler("story-waiting", summary, |options: &WorkOptions| {
            Ok(WaitingStory(Work::new(options.clone())))
        })
        .main()
}
