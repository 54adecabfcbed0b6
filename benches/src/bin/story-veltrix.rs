//! Veltrix with the same work as a handler of its own: `type: story`.

use std::process::ExitCode;

use veltrix::{Event, Handler, HandlerError, Output, Veltrix};
use veltrix_story_system::{RESULT_TYPE, Work, WorkOptions};

struct Story(Work);

impl Handler for Story {
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        self.0
            .run(event)
            .map_err(|_| HandlerError::retryable("it fails on purpose"))?;
        out.emit(RESULT_TYPE, self.0.answer())
    }
}

fn main() -> ExitCode {
    Veltrix::new()
        .handler(
            "story",
            "The work of the benchmark `story`",
            |options: &WorkOptions| Ok(Story(Work::new(options.clone()))),
        )
        .main()
}
