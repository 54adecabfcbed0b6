//! A dead letter as JSON: what the API shows of it, and the `data` of its copy for a sink.

use std::fmt::Write as _;
use std::time::SystemTime;

use crate::attribute_rules::check_depth;
use crate::dead_letter_store::DeadLetter;
use crate::envelope::DEPTH_MAX;

/// Nesting of an event that is shown as JSON within JSON; common parsers take no more than [`DEPTH_MAX`] in all.
const SHOWN_DEPTH_MAX: usize = DEPTH_MAX - 8;

impl DeadLetter {
    /// What a list shows of it: no event, no attempts.
    pub fn write_summary(&self, text: &mut String) {
        self.open(text);
        let event = self.event();
        for name in ["id", "source", "type", "subject"] {
            if let Some(value) = event.attribute(name) {
                push(text, format_args!(",\"{name}\":{value}"));
            }
        }
        text.push('}');
    }

    /// All of it. Not for the event path: it looks the backtrace's symbols up, which takes many milliseconds.
    pub fn write_story(&self, text: &mut String) {
        self.write_json(text);
        if let Some(backtrace) = &self.failure.backtrace {
            text.pop();
            let backtrace = backtrace.to_string();
            push(
                text,
                format_args!(",\"backtrace\":{}}}", Quoted(&backtrace)),
            );
        }
    }

    /// All but the backtrace. An event that is nested too deeply to stand within JSON is given as a text.
    pub(crate) fn write_json(&self, text: &mut String) {
        self.open(text);
        text.push_str(",\"attempts\":[");
        for (number, attempt) in self.failure.attempts.kept().iter().enumerate() {
            let (at, class) = (Time(attempt.at), attempt.class.as_str());
            let reason = Quoted(&attempt.reason);
            let comma = if number == 0 { "" } else { "," };
            push(
                text,
                format_args!(
                    "{comma}{{\"at\":\"{at}\",\"class\":\"{class}\",\"reason\":{reason}}}"
                ),
            );
        }
        text.push(']');
        let line = self.event().line();
        match check_depth(line, SHOWN_DEPTH_MAX) {
            Ok(()) => push(text, format_args!(",\"event\":{line}}}")),
            Err(_) => push(text, format_args!(",\"event\":{}}}", Quoted(line))),
        }
    }

    /// What the list and the whole have in common, without the closing brace.
    fn open(&self, text: &mut String) {
        let failure = &self.failure;
        let (sequence, at) = (self.sequence, Time(self.at));
        let (branch, class) = (Quoted(&failure.branch), failure.class.as_str());
        let (reason, count) = (Quoted(&failure.reason), failure.attempts.count());
        let version = Quoted(&self.config_version);
        push(
            text,
            format_args!(
                "{{\"sequence\":{sequence},\"at\":\"{at}\",\"branch\":{branch},\"class\":\"{class}\",\
                 \"reason\":{reason},\"attempt_count\":{count},\"config_version\":{version}"
            ),
        );
    }
}

/// A text as a JSON string.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quoted = serde_json::to_string(self.0).map_err(|_| std::fmt::Error)?;
        formatter.write_str(&quoted)
    }
}

/// A time in the form of RFC 3339.
struct Time(SystemTime);

impl std::fmt::Display for Time {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", humantime::format_rfc3339_millis(self.0))
    }
}

fn push(text: &mut String, written: std::fmt::Arguments<'_>) {
    text.write_fmt(written)
        .expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use std::backtrace::Backtrace;
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::batch::{detached_types, parse_record};
    use crate::dead_letter::{Attempt, Attempts, Failure, FailureClass};
    use crate::event::Event;

    fn letter(line: &str) -> DeadLetter {
        let record = parse_record(line, 0..line.len(), &mut detached_types()).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        let mut attempts = Attempts::default();
        attempts.add(Attempt {
            at,
            class: FailureClass::Panic,
            reason: "a \"bad\"\nthing".into(),
            backtrace: Some(Arc::new(Backtrace::force_capture())),
        });
        let failure = Failure::after(&"handler.h".into(), attempts);
        let letter = DeadLetter::new(at, &Event::new(&record, line), failure, &"c0ffee".into());
        numbered(letter, 7)
    }

    fn numbered(mut letter: DeadLetter, sequence: u64) -> DeadLetter {
        letter.sequence = sequence;
        letter
    }

    fn whole(letter: &DeadLetter) -> Value {
        let mut text = String::new();
        letter.write_json(&mut text);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_whole_has_the_event_and_each_attempt() {
        let line = r#"{"specversion":"1.0","id":"a\"b","source":"/s","type":"t","data":{"x":[1]}}"#;
        let letter = letter(line);
        let event: Value = serde_json::from_str(line).unwrap();
        let reason = "a \"bad\"\nthing";
        let mut expected = json!({
            "sequence": 7, "at": "1970-01-01T00:00:01.500Z", "branch": "handler.h", "class": "panic", "reason": reason,
            "attempt_count": 1, "config_version": "c0ffee",
            "attempts": [{ "at": "1970-01-01T00:00:01.500Z", "class": "panic", "reason": reason }],
            "event": event,
        });
        assert_eq!(whole(&letter), expected);
        let mut summary = String::new();
        letter.write_summary(&mut summary);
        let map = expected.as_object_mut().unwrap();
        for left_out in ["attempts", "event"] {
            map.remove(left_out);
        }
        for (name, value) in [("id", "a\"b"), ("source", "/s"), ("type", "t")] {
            map.insert(name.to_owned(), value.into());
        }
        assert_eq!(serde_json::from_str::<Value>(&summary).unwrap(), expected);
    }

    #[test]
    fn the_story_has_the_backtrace_as_well() {
        let letter = letter(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#);
        let mut text = String::new();
        letter.write_story(&mut text);
        let mut story: Value = serde_json::from_str(&text).unwrap();
        let backtrace = story.as_object_mut().unwrap().remove("backtrace").unwrap();
        assert!(backtrace.as_str().unwrap().contains("dead_letter_json"));
        assert_eq!(story, whole(&letter));
    }

    #[test]
    fn an_event_too_deep_to_stand_in_json_is_a_text() {
        let (open, close) = ("[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1));
        let line = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{open}{close}}}"#
        );
        assert_eq!(whole(&letter(&line))["event"], line);
    }
}
