//! An event that is only a line of text: what renaming leaves behind, before an arena holds it.

use std::ops::Range;

use crate::expression::{
    EventView, Malformed, MemberStep, ObjectCursor, Span, skip_value, skip_whitespace, unescape,
};

/// A line of JSON with an event in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawLine<'a> {
    line: &'a str,
    data: Span,
}

impl<'a> RawLine<'a> {
    /// Finds `data` in the line. The line must be valid JSON, as an event's always is.
    pub(crate) fn new(line: &'a str) -> Result<Self, Malformed> {
        let data = member(line, "data")?.unwrap_or(Span::ABSENT);
        Ok(Self { line, data })
    }

    /// As [`Self::new`], where the caller knows where `data` stands.
    pub(crate) fn with_data(line: &'a str, data: Span) -> Self {
        Self { line, data }
    }
}

impl<'a> EventView<'a> for RawLine<'a> {
    fn line(&self) -> &'a str {
        self.line
    }

    fn data_span(&self) -> Option<Range<usize>> {
        (!self.data.is_absent()).then_some(self.data.start..self.data.end)
    }

    fn attribute(&self, name: &str) -> Option<&'a str> {
        // The line was scanned whole by `new`, so it is not malformed here.
        member(self.line, name)
            .ok()
            .flatten()
            .and_then(|span| span.of(self.line))
    }
}

/// The value of the last member of this name.
fn member(line: &str, name: &str) -> Result<Option<Span>, Malformed> {
    let bytes = line.as_bytes();
    let mut found = None;
    let mut cursor = ObjectCursor::new(bytes, skip_whitespace(bytes, 0));
    while let MemberStep::Member {
        key, value_start, ..
    } = cursor.step()?
    {
        let end = skip_value(bytes, value_start)?;
        if unescape(&line[key.start..key.end])? == name {
            found = Some(Span {
                start: value_start,
                end,
            });
        }
        cursor.value_ended(end);
    }
    Ok(found)
}
