//! Another byte in an event's `data`, such that the event is still one line of JSON with everything at its place.

use std::ops::Range;

use crate::event::{Event, EventRecord};

/// Bytes that are tried; data that has none to change within so many stays as it is.
const TRIES_MAX: usize = 64;

/// A byte of an event's line and what is there instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corruption {
    at: usize,
    byte: u8,
}

impl Corruption {
    /// Chooses a byte by the draw. None where there is no letter or digit that may be another one.
    pub(crate) fn choose(event: &Event<'_>, draw: u64) -> Option<Self> {
        let span = event.data_span()?;
        let data = event.data()?.as_bytes();
        let len = u64::try_from(data.len()).ok().filter(|len| *len > 0)?;
        let first = usize::try_from(draw % len).ok()?;
        let mut changed = data.to_vec();
        let positions = (first..data.len()).chain(0..first);
        for at in positions.take(TRIES_MAX) {
            if !data[at].is_ascii_alphanumeric() {
                continue;
            }
            // A bit at the low end: a digit stays a digit, nothing becomes a line's end.
            let byte = data[at] ^ 1;
            changed[at] = byte;
            if serde_json::from_slice::<serde::de::IgnoredAny>(&changed).is_ok() {
                let at = span.start + at;
                return Some(Self { at, byte });
            }
            changed[at] = data[at];
        }
        None
    }

    /// Changes the byte in a text in which the event's line starts at `start`.
    pub(crate) fn apply(self, text: &mut String, start: usize) {
        let at = start + self.at;
        let byte: Range<usize> = at..at + 1;
        text.replace_range(byte, char::from(self.byte).encode_utf8(&mut [0; 4]));
    }

    /// The changed event: a line of its own, and where things are in it.
    pub(crate) fn of(self, event: &Event<'_>) -> (EventRecord, String) {
        let mut line = event.line().to_owned();
        self.apply(&mut line, 0);
        (event.record().with_data_edited(0, line.len()), line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{detached_types, parse_record};

    #[test]
    fn a_corrupted_event_differs_in_one_byte_of_its_data() {
        let mut types = detached_types();
        for data in [
            r#"{"price":10.5,"name":"tee\n","flags":[true,null]}"#,
            "\"ü7\"",
            "10",
            "[0,-1e5]",
        ] {
            let line = format!(
                r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{data},"subject":"x"}}"#
            );
            let record = parse_record(&line, 0..line.len(), &mut types).unwrap();
            let event = Event::new(&record, &line);
            for draw in 0..200 {
                let corruption = Corruption::choose(&event, draw).expect("there is a byte");
                let (record, changed) = corruption.of(&event);
                let changed = Event::new(&record, &changed);
                assert!(parse_record(changed.line(), 0..line.len(), &mut types).is_ok());
                assert_eq!(changed.id(), "1");
                let bytes = changed.line().bytes().zip(line.bytes());
                assert_eq!(bytes.filter(|(a, b)| a != b).count(), 1);
                assert_ne!(changed.data(), Some(data));
            }
        }
    }

    #[test]
    fn data_without_a_byte_to_change_stays_as_it_is() {
        let mut types = detached_types();
        for data in ["", r#","data":null"#, r#","data":{}"#] {
            let line =
                format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{data}}}"#);
            let record = parse_record(&line, 0..line.len(), &mut types).unwrap();
            assert_eq!(Corruption::choose(&Event::new(&record, &line), 7), None);
        }
    }
}
