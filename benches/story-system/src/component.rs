//! A component as teams write them: one process, one thread, one feed of events, handlers with retries, one connection
//! to its sink. What comes in one read is worked on and answered with one write.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::Context;
use veltrix_actors::{Event, Intake, TypeCache, detached_types};

use crate::outlet::Outlet;
use crate::work::{RESULT_TYPE, Work, WorkOptions};

/// As Veltrix does by default: three attempts, the second one at once, the third after this pause.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// Works on events and sends the results.
pub(crate) struct Component {
    name: String,
    options: WorkOptions,
    work: Work,
    types: TypeCache,
    /// The types that it wants, if its feed brings others, too.
    wanted: Option<HashSet<String>>,
    outlet: Outlet,
}

impl Component {
    /// Connects to the sink. The harness takes the connection as a sign that the component is ready, so its feed comes first.
    pub(crate) async fn connect(sink: SocketAddr, options: &WorkOptions) -> anyhow::Result<Self> {
        let outlet = Outlet::connect(sink)
            .await
            .with_context(|| format!("connecting to the sink at {sink}"))?;
        Ok(Self {
            name: format!("c{}", options.component),
            options: options.clone(),
            work: Work::new(options.clone()),
            types: detached_types(),
            wanted: None,
            outlet,
        })
    }

    /// Has it pass over events of other types.
    pub(crate) fn filter(&mut self, wanted: impl IntoIterator<Item = String>) {
        self.wanted = Some(wanted.into_iter().collect());
    }

    /// Works on the events of `text`, each with its newline, and sends the results. Lines that are no events are passed
    /// over.
    pub(crate) async fn handle(&mut self, text: String) {
        let mut intake = Intake::over(text);
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &intake.text().as_bytes()[start..]) {
            // A malformed line has no place to go but a log, which is the same in all systems: off.
            intake
                .parse(start..start + length, &mut self.types)
                .unwrap_or_default();
            start += length + 1;
        }
        for index in 0..intake.len() {
            self.handle_event(&intake.event(index)).await;
        }
        self.outlet.flush().await;
    }

    async fn handle_event(&mut self, event: &Event<'_>) {
        if let Some(wanted) = &self.wanted
            && !wanted.contains(&*event.event_type())
        {
            return;
        }
        for attempt in 1..=ATTEMPTS {
            if attempt > 2 {
                tokio::time::sleep(PAUSE).await;
            }
            let work = &mut self.work;
            // As every runtime that owns its tasks does: a panic is a failed attempt, not the process's end.
            match catch_unwind(AssertUnwindSafe(|| work.run(event))) {
                Ok(Ok(())) => {
                    write_result(self.outlet.text(), &self.name, event, self.work.answer());
                    return;
                }
                Ok(Err(_)) => {}
                Err(_) => self.work = Work::new(self.options.clone()),
            }
        }
    }
}

/// Writes a result as Veltrix does: its own id and source, the cause's subject, and the chain of causes.
fn write_result(text: &mut String, name: &str, event: &Event<'_>, data: &str) {
    let id = event.raw_id();
    text.push_str(r#"{"specversion":"1.0","id":""#);
    text.extend([id, ".", name, r#".0","source":"/veltrix/story/"#, name]);
    text.extend([r#"","type":""#, RESULT_TYPE]);
    if let Some(subject) = event.raw_subject() {
        text.extend([r#"","subject":""#, subject]);
    }
    text.extend([r#"","causationid":""#, id, r#"","correlationid":""#, id]);
    text.extend([r#"","data":"#, data, "}\n"]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use veltrix_actors::{Handler, HandlerError, Output, Trial};

    struct Answering(Work);

    impl Handler for Answering {
        fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
            self.0
                .run(event)
                .map_err(|_| HandlerError::retryable("on purpose"))?;
            out.emit(RESULT_TYPE, self.0.answer())
        }
    }

    #[test]
    fn results_are_the_same_bytes_as_veltrix_writes() {
        let options = WorkOptions {
            component: 3,
            rounds: 1,
            errors_per_10000: 0,
            panics_per_10000: 0,
        };
        for subject in ["", r#","subject":"a \u0062""#] {
            let line = format!(
                r#"{{"specversion":"1.0","id":"7","source":"/s","type":"t"{subject},"data":{{"a":1}}}}"#
            );
            let mut handler = Answering(Work::new(options.clone()));
            let expected = Trial::new("story", "c3")
                .handle(&mut handler, &line)
                .unwrap();
            let mut intake = Intake::over(String::new());
            intake.push_line(&line, &mut detached_types()).unwrap();
            let mut text = String::new();
            write_result(&mut text, "c3", &intake.event(0), handler.0.answer());
            assert_eq!(text, format!("{}\n", expected.lines[0]));
        }
    }
}
