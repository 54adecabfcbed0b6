//! How an event differs from what is expected of it.

use serde_json::Value;
use veltrix_actors::{Intake, detached_types};

use crate::config::{ExpectedDeadLetter, ExpectedEvent};
use crate::expression::{Condition, Located, Verdict};

/// What stands for a value that is not there.
const NOTHING: &str = "nothing";

/// One place at which they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) path: String,
    pub(super) expected: String,
    pub(super) came: String,
}

/// An event that came, as text and as values.
#[derive(Clone, Debug)]
pub(super) struct Came {
    pub(super) line: String,
    pub(super) value: Value,
}

impl Came {
    pub(super) fn read(line: String) -> Result<Self, String> {
        let value = serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
        Ok(Self { line, value })
    }

    pub(super) fn of(value: Value) -> Self {
        let line = value.to_string();
        Self { line, value }
    }
}

/// The event of a dead letter.
pub(super) fn event_of(letter: &Value) -> Result<Came, String> {
    match &letter["event"] {
        // one that is nested too deeply stands there as a text
        Value::String(line) => Came::read(line.clone()),
        event => Ok(Came::of(event.clone())),
    }
}

/// What is expected, and how far what came is from it.
pub(super) trait Expectation {
    /// All differences; none if it fits.
    fn differences(&self, came: &Came) -> Vec<Difference>;

    /// How many things are asked for.
    fn demands(&self) -> usize;

    /// As it stands in the config.
    fn written(&self) -> &str;
}

/// An expected event with its condition compiled.
pub(super) struct EventExpectation<'a> {
    expected: &'a ExpectedEvent,
    check: Option<Condition>,
}

impl<'a> EventExpectation<'a> {
    pub(super) fn new(expected: &'a ExpectedEvent) -> Result<Self, String> {
        let check = expected
            .check
            .as_deref()
            .map(Condition::compile)
            .transpose();
        Ok(Self {
            expected,
            check: check.map_err(|error| error.to_string())?,
        })
    }

    fn check(&self, line: &str) -> Option<Difference> {
        let check = self.check.as_ref()?;
        let mut intake = Intake::over(String::new());
        let came = match intake.push_line(line, &mut detached_types()) {
            Ok(()) => match check.judge(&intake.event(0), &mut Located::default()) {
                Ok(Verdict::Holds) => return None,
                Ok(Verdict::Fails) => "false".to_owned(),
                Ok(Verdict::Missing(path)) => format!("there is no {path}"),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        Some(Difference {
            path: "check".to_owned(),
            expected: self.expected.check.clone().unwrap_or_default(),
            came,
        })
    }
}

impl Expectation for EventExpectation<'_> {
    fn differences(&self, came: &Came) -> Vec<Difference> {
        let mut comparison = Comparison {
            ignore: &self.expected.ignore,
            found: Vec::new(),
        };
        for (field, expected) in &self.expected.fields {
            match field.as_str() {
                "event" => comparison.compare(expected, Some(&came.value), &mut Vec::new()),
                path => {
                    let mut steps: Vec<String> = path.split('.').map(str::to_owned).collect();
                    comparison.compare(expected, at(&came.value, path), &mut steps);
                }
            }
        }
        comparison.found.extend(self.check(&came.line));
        comparison.found
    }

    fn demands(&self) -> usize {
        self.expected.fields.len() + usize::from(self.check.is_some())
    }

    fn written(&self) -> &str {
        &self.expected.written
    }
}

/// An expected dead letter; what came is its copy's `data`.
pub(super) struct LetterExpectation<'a> {
    expected: &'a ExpectedDeadLetter,
    event: EventExpectation<'a>,
}

impl<'a> LetterExpectation<'a> {
    pub(super) fn new(expected: &'a ExpectedDeadLetter) -> Result<Self, String> {
        Ok(Self {
            expected,
            event: EventExpectation::new(&expected.event)?,
        })
    }
}

impl Expectation for LetterExpectation<'_> {
    fn differences(&self, came: &Came) -> Vec<Difference> {
        let text = |key: &str| came.value[key].as_str().unwrap_or_default().to_owned();
        let asked = [
            ("branch", &self.expected.branch),
            ("class", &self.expected.class),
            ("reason", &self.expected.reason),
        ];
        let mut found = Vec::new();
        for (key, expected) in asked {
            let Some(expected) = expected else { continue };
            let came = text(key);
            let fits = if key == "reason" {
                came.contains(expected.as_str())
            } else {
                came == *expected
            };
            if !fits {
                let (path, expected) = (key.to_owned(), format!("{expected:?}"));
                found.push(Difference {
                    path,
                    expected,
                    came: format!("{came:?}"),
                });
            }
        }
        if let Ok(event) = event_of(&came.value) {
            let of_event = self.event.differences(&event).into_iter();
            found.extend(of_event.map(|difference| Difference {
                path: format!("event.{}", difference.path),
                ..difference
            }));
        }
        found
    }

    fn demands(&self) -> usize {
        let own = [
            &self.expected.branch,
            &self.expected.class,
            &self.expected.reason,
        ];
        own.iter().filter(|asked| asked.is_some()).count() + self.event.demands()
    }

    fn written(&self) -> &str {
        &self.expected.written
    }
}

/// The value at a path, numbers in it being indices of lists.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

struct Comparison<'a> {
    ignore: &'a [Vec<String>],
    found: Vec<Difference>,
}

impl Comparison<'_> {
    fn compare(&mut self, expected: &Value, came: Option<&Value>, path: &mut Vec<String>) {
        if self.ignore.iter().any(|ignored| fits(ignored, path)) {
            return;
        }
        match (expected, came) {
            (Value::Object(expected), Some(Value::Object(came))) => {
                for (key, value) in expected {
                    self.step(
                        key,
                        |this, path| this.compare(value, came.get(key), path),
                        path,
                    );
                }
                for (key, value) in came.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                    self.step(key, |this, path| this.unexpected(value, path), path);
                }
            }
            (Value::Array(expected), Some(Value::Array(came))) if expected.len() == came.len() => {
                for (index, (expected, came)) in expected.iter().zip(came).enumerate() {
                    let key = index.to_string();
                    self.step(
                        &key,
                        |this, path| this.compare(expected, Some(came), path),
                        path,
                    );
                }
            }
            (expected, Some(came)) if is_same(expected, came) => {}
            (expected, came) => {
                let came = came.map_or(NOTHING.to_owned(), Value::to_string);
                self.differ(path, expected.to_string(), came);
            }
        }
    }

    fn unexpected(&mut self, came: &Value, path: &[String]) {
        if !self.ignore.iter().any(|ignored| fits(ignored, path)) {
            self.differ(path, NOTHING.to_owned(), came.to_string());
        }
    }

    fn step(
        &mut self,
        key: &str,
        compare: impl FnOnce(&mut Self, &mut Vec<String>),
        path: &mut Vec<String>,
    ) {
        path.push(key.to_owned());
        compare(self, path);
        path.pop();
    }

    fn differ(&mut self, path: &[String], expected: String, came: String) {
        let path = path.join(".");
        self.found.push(Difference {
            path,
            expected,
            came,
        });
    }
}

fn fits(pattern: &[String], path: &[String]) -> bool {
    let is_same = |(a, b): (&String, &String)| a == "*" || a == b;
    pattern.len() == path.len() && pattern.iter().zip(path).all(is_same)
}

/// Numbers are the same if their values are, however they are written.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}
