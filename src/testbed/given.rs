//! The source of a test: the events that are given.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use serde_json::{Map, Value};
use veltrix_actors::{Intake, Source, SourceFactory, SourcePort, StartError, check_line};

use crate::config::{Config, Given, GivenItem, TestCase};
use crate::expression::EnvelopeExpressions;
use crate::lines::LineEnvelope;

/// Events that come in at once at most.
const INTAKE_EVENTS: usize = 256;

/// Makes the source.
pub(super) struct GivenFactory {
    lines: Arc<Vec<String>>,
    in_order: bool,
}

impl GivenFactory {
    /// The source of the test's events.
    ///
    /// # Errors
    /// What is no event.
    pub(super) fn new(case: &TestCase, config: &Config) -> Result<Self, String> {
        let mut wrapper = Wrapper {
            config,
            envelopes: HashMap::new(),
        };
        let lines = match &case.given {
            Given::Items(items) => {
                let items = items.iter().enumerate();
                let line = |(index, item): (usize, &GivenItem)| {
                    let line = match item {
                        GivenItem::Event(line) => Ok(line.clone()),
                        GivenItem::Line { line, from } => wrapper.wrap(line, from),
                    };
                    line.map_err(|why| format!("given {}: {why}", index + 1))
                };
                items.map(line).collect::<Result<Vec<_>, _>>()?
            }
            Given::File { path, from } => {
                wrapper.file(path, from.as_deref(), case.time.as_deref())?
            }
        };
        Ok(Self {
            lines: Arc::new(lines),
            in_order: case.in_order,
        })
    }
}

/// Wraps plain lines as their sources would.
struct Wrapper<'a> {
    config: &'a Config,
    envelopes: HashMap<String, LineEnvelope>,
}

impl Wrapper<'_> {
    /// The events of a file.
    fn file(
        &mut self,
        path: &Path,
        from: Option<&str>,
        time: Option<&str>,
    ) -> Result<Vec<String>, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
            let event = match from {
                Some(from) => self.wrap(line, from),
                None => with_time(line, time),
            };
            lines.push(event.map_err(|why| format!("{shown}:{number}: {why}"))?);
        }
        Ok(lines)
    }

    fn wrap(&mut self, line: &str, from: &str) -> Result<String, String> {
        if !self.envelopes.contains_key(from) {
            let sources = self.config.sources.iter();
            let source = sources.filter(|source| source.name == from);
            let envelope = source.filter_map(|source| source.envelope.clone()).next();
            let envelope = envelope.ok_or_else(|| format!("`{from}` has no envelope"))?;
            let attributes = EnvelopeExpressions::factory(envelope)();
            let attributes = attributes.map_err(|error| error.to_string())?;
            let envelope = LineEnvelope::with_ids(attributes, from.to_owned());
            self.envelopes.insert(from.to_owned(), envelope);
        }
        let envelope = self.envelopes.get_mut(from).expect("it was just made");
        let mut event = String::new();
        let wrapped = envelope.wrap(line, &mut event);
        wrapped.map_err(|error| format!("`{from}` refuses the line: {}", error.message))?;
        check_line(&event).map_err(|error| format!("`{from}` makes no event of it: {error}"))?;
        Ok(event)
    }
}

/// The event of a file's line, with the test's time if it has none.
fn with_time(line: &str, time: Option<&str>) -> Result<String, String> {
    check_line(line).map_err(|error| format!("no event: {error}"))?;
    let Some(time) = time else {
        return Ok(line.to_owned());
    };
    let mut event: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| format!("no event: {error}"))?;
    event.entry("time").or_insert_with(|| time.into());
    Ok(Value::Object(event).to_string())
}

impl SourceFactory for GivenFactory {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        Ok(Box::new(GivenSource {
            lines: Arc::clone(&self.lines),
            in_order: self.in_order,
        }))
    }
}

struct GivenSource {
    lines: Arc<Vec<String>>,
    in_order: bool,
}

impl Source for GivenSource {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        async move {
            port.report_ready();
            let mut types = port.types();
            let at_once = if self.in_order { 1 } else { INTAKE_EVENTS };
            for lines in self.lines.chunks(at_once) {
                if !port.room().await {
                    break;
                }
                let mut intake = Intake::over(String::new());
                for line in lines {
                    let pushed = intake.push_line(line, &mut types);
                    pushed.map_err(|error| StartError(error.to_string()))?;
                }
                port.submit(intake);
                if self.in_order {
                    port.stats().in_flight.drained().await;
                }
            }
            Ok(())
        }
        .boxed_local()
    }
}
