//! Plain JSON lines → events: the attributes come from expressions over the line, the line becomes `data`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use veltrix_actors::StartError;

use super::parser::LineError;

/// What the expressions of an `envelope` yielded for one line.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) event_type: String,
    pub(crate) source: String,
    /// `None` if the config leaves the id out.
    pub(crate) id: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) time: Option<String>,
}

/// Evaluates the expressions of an `envelope`.
pub(crate) trait LineAttributes {
    /// The attributes for `line`, which is one valid JSON text.
    ///
    /// # Errors
    /// Why they cannot be told.
    fn evaluate(&mut self, line: &str) -> Result<Attributes, String>;
}

/// Makes the evaluator on the source's thread.
pub(crate) type EnvelopeFactory =
    Arc<dyn Fn() -> Result<Box<dyn LineAttributes>, StartError> + Send + Sync>;

/// Wraps lines.
pub(crate) struct LineEnvelope {
    attributes: Box<dyn LineAttributes>,
    /// Makes ids unique over all sources and starts, where the config leaves them out.
    id_prefix: String,
    next_id: u64,
}

impl LineEnvelope {
    /// Wraps the lines of the source called `name`.
    pub(crate) fn new(attributes: Box<dyn LineAttributes>, name: &str) -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self::with_ids(attributes, format!("{name}-{:x}", since_epoch.as_nanos()))
    }

    /// Wraps lines; the ids that it makes up are `id_prefix` and a number.
    pub(crate) fn with_ids(attributes: Box<dyn LineAttributes>, id_prefix: String) -> Self {
        Self {
            attributes,
            id_prefix,
            next_id: 1,
        }
    }

    /// Appends the event to `out`, in the JSON format on one line.
    pub(crate) fn wrap(&mut self, line: &str, out: &mut String) -> Result<(), LineError> {
        // Checked before it becomes part of a larger text, where `1,"id":"x"` would pass for more members.
        serde_json::from_str::<serde::de::IgnoredAny>(line).map_err(|error| LineError {
            reason: "not_json",
            message: format!("not JSON: {error}"),
        })?;
        let failed = |message| LineError {
            reason: "envelope",
            message,
        };
        let attributes = self.attributes.evaluate(line).map_err(failed)?;
        out.push_str(r#"{"specversion":"1.0","id":"#);
        match &attributes.id {
            Some(id) => push_string(id, out),
            None => {
                push_string(&format!("{}-{}", self.id_prefix, self.next_id), out);
                self.next_id += 1;
            }
        }
        for (name, value) in [
            ("source", Some(&attributes.source)),
            ("type", Some(&attributes.event_type)),
            ("subject", attributes.subject.as_ref()),
            ("time", attributes.time.as_ref()),
        ] {
            if let Some(value) = value {
                out.push_str(",\"");
                out.push_str(name);
                out.push_str("\":");
                push_string(value, out);
            }
        }
        out.push_str(r#","datacontenttype":"application/json","data":"#);
        out.push_str(line);
        out.push('}');
        Ok(())
    }
}

fn push_string(text: &str, out: &mut String) {
    if text.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Level;

    impl LineAttributes for Level {
        fn evaluate(&mut self, line: &str) -> Result<Attributes, String> {
            let value: serde_json::Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
            let level = value["level"].as_str().ok_or("`line.level` is missing")?;
            Ok(Attributes {
                event_type: format!("log.{level}"),
                source: "/app\"\n".to_owned(),
                subject: Some("s".to_owned()),
                ..Attributes::default()
            })
        }
    }

    #[test]
    fn a_line_becomes_the_data_of_an_event_with_an_id_of_its_own() {
        let mut envelope = LineEnvelope::new(Box::new(Level), "lines");
        let (mut first, mut second) = (String::new(), String::new());
        let line = r#"{"level": "warn", "n": 1.50}"#;
        envelope.wrap(line, &mut first).expect("wrapped");
        envelope.wrap(line, &mut second).expect("wrapped");
        let tail = r#","source":"/app\"\n","type":"log.warn","subject":"s","datacontenttype":"application/json","data":{"level": "warn", "n": 1.50}}"#;
        assert!(first.ends_with(tail), "{first}");
        assert!(first.starts_with(r#"{"specversion":"1.0","id":"lines-"#));
        assert_ne!(first, second);
    }

    #[test]
    fn what_is_not_one_json_text_cannot_smuggle_members() {
        let mut envelope = LineEnvelope::new(Box::new(Level), "lines");
        for line in ["plain text", r#"1,"id":"x""#, r#"{"level":"a"} {}"#, ""] {
            let refused = envelope.wrap(line, &mut String::new()).expect_err(line);
            assert_eq!(refused.reason, "not_json");
        }
        let refused = envelope
            .wrap("{}", &mut String::new())
            .expect_err("no level");
        assert_eq!(refused.reason, "envelope");
    }
}
