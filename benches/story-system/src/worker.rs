//! One event at a time: attempts, and the result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::time::sleep;
use veltrix_actors::Event;

use crate::work::{RESULT_TYPE, Work, WorkOptions};

/// As Veltrix does by default: three attempts, the second one at once, the third after this pause.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// Attributes that a result keeps beside the subject.
const KEPT: [&str; 4] = ["time", "datacontenttype", "traceparent", "tracestate"];

pub(crate) struct Worker {
    name: String,
    options: WorkOptions,
    work: Work,
}

impl Worker {
    pub(crate) fn new(options: &WorkOptions) -> Self {
        Self {
            name: format!("c{}", options.component),
            options: options.clone(),
            work: Work::new(options.clone()),
        }
    }

    /// Works on an event until an attempt succeeds, and gives the event's number.
    pub(crate) async fn handle(&mut self, event: &Event<'_>) -> Option<u64> {
        for attempt in 1..=ATTEMPTS {
            if attempt > 2 {
                sleep(PAUSE).await;
            }
            let work = &mut self.work;
            // As every runtime that owns its tasks does: a panic is a failed attempt, not the process's end.
            match catch_unwind(AssertUnwindSafe(|| work.run(event))) {
                Ok(Ok(number)) => {
                    if self.options.wait_us > 0 {
                        sleep(self.work.wait()).await;
                    }
                    return Some(number);
                }
                Ok(Err(_)) => {}
                Err(_) => self.work = Work::new(self.options.clone()),
            }
        }
        None
    }

    /// Writes the result of the last event as Veltrix does: its own id and source, what it keeps of the cause's attributes,
    /// and the chain of causes.
    pub(crate) fn write_result(&self, event: &Event<'_>, text: &mut String) {
        let (id, name) = (event.raw_id(), self.name.as_str());
        text.push_str(r#"{"specversion":"1.0","id":""#);
        text.extend([id, ".", name, r#".0","source":"/veltrix/story/"#, name]);
        text.extend([r#"","type":""#, RESULT_TYPE]);
        if let Some(subject) = event.raw_subject() {
            text.extend([r#"","subject":""#, subject]);
        }
        text.push('"');
        let mut correlation = None;
        if event.has_more_attributes() {
            for (name, value) in event.attributes() {
                if name == "correlationid" {
                    correlation = Some(value);
                } else if KEPT.contains(&&*name) {
                    text.extend([",\"", &*name, "\":", value]);
                }
            }
        }
        text.extend([r#","causationid":""#, id, r#"","correlationid":"#]);
        match correlation {
            Some(value) => text.push_str(value),
            None => text.extend(["\"", id, "\""]),
        }
        text.extend([r#","data":"#, self.work.answer(), "}\n"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veltrix_actors::{Handler, HandlerError, Intake, Output, Trial, detached_types};

    struct Answering(Work);

    impl Handler for Answering {
        fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
            self.0
                .run(event)
                .map_err(|_| HandlerError::retryable("on purpose"))?;
            out.emit(RESULT_TYPE, self.0.answer())
        }
    }

    fn options(errors_per_10000: u64, panics_per_10000: u64) -> WorkOptions {
        WorkOptions {
            component: 3,
            rounds: 1,
            wait_us: 0,
            errors_per_10000,
            panics_per_10000,
        }
    }

    #[tokio::test]
    async fn results_are_the_same_bytes_as_veltrix_writes_whatever_failed_before() {
        let all = [options(0, 0), options(10_000, 0), options(0, 10_000)];
        for (number, options) in all.into_iter().enumerate() {
            for attributes in [
                "",
                r#","subject":"a \u0062""#,
                r#","time":"2026-01-01T00:00:00Z","other":7,"datacontenttype":"application/json""#,
                r#","correlationid":"c","traceparent":"00-1-2-01""#,
            ] {
                let line = format!(
                    r#"{{"specversion":"1.0","id":"{number}","source":"/s","type":"t"{attributes},"data":{{"a":1}}}}"#
                );
                let mut handler = Answering(Work::new(WorkOptions {
                    errors_per_10000: 0,
                    panics_per_10000: 0,
                    ..options.clone()
                }));
                let expected = Trial::new("story", "c3")
                    .handle(&mut handler, &line)
                    .unwrap();
                let mut intake = Intake::over(String::new());
                intake.push_line(&line, &mut detached_types()).unwrap();
                let mut worker = Worker::new(&options);
                assert!(worker.handle(&intake.event(0)).await.is_some());
                let mut text = String::new();
                worker.write_result(&intake.event(0), &mut text);
                assert_eq!(text, format!("{}\n", expected.lines[0]));
            }
        }
    }
}
