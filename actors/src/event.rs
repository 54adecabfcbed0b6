//! An event as handlers and sinks see it: a view of one line in an arena.

use std::borrow::Cow;
use std::ops::Range;

use crate::envelope::{self, Envelope, Span};
use crate::members::members;
use crate::types::TypeId;

/// Where one event lies in its arena, and which batch it counts for. Plain data; hops copy it instead of the event.
#[derive(Clone, Copy, Debug)]
pub struct EventRecord {
    start: u32,
    len: u32,
    data: Span,
    // Attribute spans are relative to `start`; their lengths fit by `ATTRIBUTE_BYTES_MAX`.
    id: u32,
    source: u32,
    subject: u32,
    event_type: u32,
    id_len: u16,
    source_len: u16,
    subject_len: u16,
    event_type_len: u16,
    type_id: TypeId,
    /// Which of its batch's arenas holds the line.
    pub(crate) arena: u16,
    /// Which of its batch's origins is told when it is done.
    pub(crate) origin: u16,
    /// Its place in the intake that its origin counts.
    pub(crate) index: u16,
    /// How often it, or an event that it results from, went through the router again.
    pub(crate) hops: u16,
    pub(crate) flags: u8,
}

/// The event has a `data` member.
const HAS_DATA: u8 = 1;
/// The event has a subject.
const HAS_SUBJECT: u8 = 2;
/// Some of the attributes in the record has escapes.
const ESCAPED: u8 = 4;
/// There are attributes beyond those of the record.
const HAS_MORE: u8 = 8;
/// Every handler that gets this event has a condition; the last one that refuses it reports it unmatched.
pub(crate) const CONDITIONAL: u8 = 16;

impl EventRecord {
    /// A record of the line that starts at `start` of its arena.
    pub(crate) fn new(
        start: usize,
        len: usize,
        envelope: &Envelope<'_>,
        line: &str,
        type_id: TypeId,
    ) -> Self {
        let narrow = |length: u32| u16::try_from(length).expect("longer attributes were refused");
        let fits = |length: usize| u32::try_from(length).expect("arenas are smaller than 4 GiB");
        let subject = envelope.subject.unwrap_or_default();
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        Self {
            start: fits(start),
            len: fits(len),
            data: envelope.data.unwrap_or_default(),
            id: envelope.id.start,
            source: envelope.source.start,
            subject: subject.start,
            event_type: fits(envelope.event_type.as_ptr() as usize - line.as_ptr() as usize),
            id_len: narrow(envelope.id.len),
            source_len: narrow(envelope.source.len),
            subject_len: narrow(subject.len),
            event_type_len: narrow(fits(envelope.event_type.len())),
            type_id,
            arena: 0,
            origin: 0,
            index: 0,
            hops: 0,
            flags: flag(envelope.data.is_some(), HAS_DATA)
                | flag(envelope.subject.is_some(), HAS_SUBJECT)
                | flag(envelope.escaped, ESCAPED)
                | flag(envelope.has_more, HAS_MORE),
        }
    }

    /// The same event in another line, which differs only in the value of `data`.
    pub(crate) fn with_data_edited(mut self, start: usize, len: usize) -> Self {
        let fits = |length: usize| u32::try_from(length).expect("arenas are smaller than 4 GiB");
        let (old, new) = (self.len, fits(len));
        let behind = self.data.start;
        for offset in [
            &mut self.id,
            &mut self.source,
            &mut self.subject,
            &mut self.event_type,
        ] {
            if *offset > behind {
                // Added first: a difference below zero has no place in an unsigned number.
                *offset = *offset + new - old;
            }
        }
        self.data.len = self.data.len + new - old;
        self.start = fits(start);
        self.len = new;
        self
    }

    /// The same event in a text of its own.
    pub(crate) fn alone(mut self) -> Self {
        self.start = 0;
        self
    }

    /// Has the event count for what `cause` counts for.
    pub(crate) fn counts_for(&mut self, cause: &EventRecord) {
        (self.origin, self.index, self.hops) = (cause.origin, cause.index, cause.hops);
    }

    /// The interned type.
    pub fn type_id(&self) -> TypeId {
        self.type_id
    }

    /// Bytes of the line.
    pub fn line_bytes(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn line_range(&self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

/// A view of one event: cheap to copy, valid while its batch lives.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    record: &'a EventRecord,
    line: &'a str,
}

impl<'a> Event<'a> {
    pub(crate) fn new(record: &'a EventRecord, arena: &'a str) -> Self {
        Self {
            record,
            line: &arena[record.line_range()],
        }
    }

    /// The whole event in the CloudEvents JSON format, as it came, on one line.
    #[inline]
    pub fn line(&self) -> &'a str {
        self.line
    }

    /// The raw JSON text of `data`; `None` if there is none, or only `data_base64`.
    #[inline]
    pub fn data(&self) -> Option<&'a str> {
        self.data_span().map(|span| &self.line[span])
    }

    /// Where [`Event::data`] lies in [`Event::line`].
    #[inline]
    pub fn data_span(&self) -> Option<Range<usize>> {
        let Span { start, len } = self.record.data;
        (self.record.flags & HAS_DATA != 0).then(|| start as usize..(start + len) as usize)
    }

    /// `id`, unescaped.
    pub fn id(&self) -> Cow<'a, str> {
        self.text(self.raw_id())
    }

    /// `source`, unescaped.
    pub fn source(&self) -> Cow<'a, str> {
        self.text(self.raw_source())
    }

    /// `type`, unescaped.
    pub fn event_type(&self) -> Cow<'a, str> {
        self.text(self.slice(self.record.event_type, self.record.event_type_len))
    }

    /// The interned `type`.
    #[inline]
    pub fn type_id(&self) -> TypeId {
        self.record.type_id
    }

    /// `subject`, unescaped.
    pub fn subject(&self) -> Option<Cow<'a, str>> {
        self.raw_subject().map(|raw| self.text(raw))
    }

    /// The content of `id`'s JSON string, escapes and all.
    pub fn raw_id(&self) -> &'a str {
        self.slice(self.record.id, self.record.id_len)
    }

    /// The content of `source`'s JSON string, escapes and all.
    pub fn raw_source(&self) -> &'a str {
        self.slice(self.record.source, self.record.source_len)
    }

    /// The content of `subject`'s JSON string, escapes and all.
    pub fn raw_subject(&self) -> Option<&'a str> {
        (self.record.flags & HAS_SUBJECT != 0)
            .then(|| self.slice(self.record.subject, self.record.subject_len))
    }

    /// Whether there are members beyond `specversion`, `id`, `source`, `type`, `subject` and the payload.
    pub fn has_more_attributes(&self) -> bool {
        self.record.flags & HAS_MORE != 0
    }

    /// The raw JSON text of any member but `data`; `None` if it is absent or null. Scans the line for those that are not in
    /// the record.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        let record = self.record;
        let quoted = |start: u32, len: u16| {
            &self.line[start as usize - 1..=start as usize + usize::from(len)]
        };
        match name {
            "id" => return Some(quoted(record.id, record.id_len)),
            "source" => return Some(quoted(record.source, record.source_len)),
            "type" => return Some(quoted(record.event_type, record.event_type_len)),
            "subject" => {
                return self
                    .raw_subject()
                    .map(|_| quoted(record.subject, record.subject_len));
            }
            "specversion" | "data_base64" => {}
            _ if !self.has_more_attributes() => return None,
            _ => {}
        }
        self.attributes()
            .find_map(|(member, value)| (member == name).then_some(value))
    }

    /// All members but `data` and those that are null: name and raw JSON text. Scans the line, but for its payload.
    pub fn attributes(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a str)> + use<'a> {
        members(self.line, self.data_span()).filter(|(_, value)| *value != "null")
    }

    pub(crate) fn record(&self) -> &'a EventRecord {
        self.record
    }

    fn slice(&self, start: u32, len: u16) -> &'a str {
        &self.line[start as usize..start as usize + usize::from(len)]
    }

    fn text(&self, raw: &'a str) -> Cow<'a, str> {
        match self.record.flags & ESCAPED {
            0 => Cow::Borrowed(raw),
            _ => envelope::unescape(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{detached_types, parse_record};

    #[test]
    fn a_record_follows_its_line_when_data_grows_or_shrinks() {
        let line = |data: &str| {
            format!(
                r#"{{"specversion":"1.0","id":"1","data":{data},"source":"/s","type":"t","subject":"x"}}"#
            )
        };
        let old = line(r#"{"a":1}"#);
        let mut types = detached_types();
        let record = parse_record(&old, 0..old.len(), &mut types).unwrap();
        for data in [r#"{"a":1,"b":[1,2,3]}"#, "7"] {
            let new = line(data);
            let record = record.with_data_edited(0, new.len());
            let event = Event::new(&record, &new);
            assert_eq!(event.data(), Some(data));
            let attributes = (
                event.id(),
                event.source(),
                event.event_type(),
                event.subject(),
            );
            let expected = ("1".into(), "/s".into(), "t".into(), Some("x".into()));
            assert_eq!(attributes, expected);
        }
    }
}
