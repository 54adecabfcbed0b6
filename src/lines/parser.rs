//! Chunks of lines → events. Bad lines are counted, logged and left out; their neighbours go on.

use std::ops::Range;
use std::sync::Arc;

use memchr::memchr;
use veltrix_actors::{Intake, SourcePort, SourceStats, TypeCache};

use super::envelope::LineEnvelope;
use super::framer::Chunk;
use super::rejections::RejectionLog;

/// Errors that are kept of one chunk, for answering the sender.
const ERRORS_MAX: usize = 10;
/// Characters of an error's message: it may quote what was sent.
const MESSAGE_CHARS_MAX: usize = 200;

/// Why a line is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LineError {
    /// A short stable word, for counters.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
}

/// What a chunk held.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The events.
    pub(crate) intake: Intake,
    /// Lines that were refused.
    pub(crate) rejected: usize,
    /// The first few of them, with their line numbers.
    pub(crate) errors: Vec<(u64, LineError)>,
}

/// One stream's parser.
pub(crate) struct LineParser {
    source: Arc<str>,
    /// The file or peer that the lines come from, for the log.
    place: String,
    event_bytes_max: usize,
    envelope: Option<LineEnvelope>,
    types: TypeCache,
    stats: Arc<SourceStats>,
    log: RejectionLog,
}

impl LineParser {
    /// For lines that come from `place`.
    pub(crate) fn new(
        port: &SourcePort,
        place: String,
        event_bytes_max: usize,
        envelope: Option<LineEnvelope>,
    ) -> Self {
        Self::with(
            port.name().into(),
            place,
            event_bytes_max,
            envelope,
            port.types(),
            port.stats().clone(),
        )
    }

    fn with(
        source: Arc<str>,
        place: String,
        event_bytes_max: usize,
        envelope: Option<LineEnvelope>,
        types: TypeCache,
        stats: Arc<SourceStats>,
    ) -> Self {
        Self {
            source,
            place,
            event_bytes_max,
            envelope,
            types,
            stats,
            log: RejectionLog::new(),
        }
    }

    /// Goes on with lines from another place.
    pub(crate) fn set_place(&mut self, place: String) {
        self.place = place;
    }

    /// Finds the events of a chunk.
    pub(crate) fn parse(&mut self, chunk: Chunk) -> Parsed {
        let mut lines = Lines::new(chunk.first_line);
        if let Some(line) = chunk.oversize_line {
            lines.refuse(line, self.oversize());
        }
        match (String::from_utf8(chunk.bytes), &self.envelope) {
            (Ok(text), None) => self.parse_in_place(text, &mut lines),
            (Ok(text), Some(_)) => self.parse_each(text.as_bytes(), &mut lines),
            (Err(error), _) => self.parse_each(error.as_bytes(), &mut lines),
        }
        self.count(&lines);
        Parsed {
            intake: lines.intake,
            rejected: lines.rejected,
            errors: lines.errors,
        }
    }

    /// The common case: valid text whose lines are events stays where it is.
    fn parse_in_place(&mut self, text: String, lines: &mut Lines) {
        lines.intake = Intake::over(text);
        let mut start = 0;
        while let Some(line) = next_line(lines.intake.text().as_bytes(), &mut start) {
            if line.is_empty() {
            } else if line.len() > self.event_bytes_max {
                lines.refuse(lines.number, self.oversize());
            } else if let Err(error) = lines.intake.parse(line, &mut self.types) {
                lines.refuse(lines.number, LineError::from(error));
            }
            lines.number += 1;
        }
    }

    /// Lines that have to be wrapped or some of which are no text: the good ones are copied.
    fn parse_each(&mut self, bytes: &[u8], lines: &mut Lines) {
        lines.intake = Intake::over(String::with_capacity(bytes.len()));
        let mut wrapped = String::new();
        let mut start = 0;
        while let Some(range) = next_line(bytes, &mut start) {
            if !range.is_empty()
                && let Err(error) = self.parse_one(&bytes[range], &mut lines.intake, &mut wrapped)
            {
                lines.refuse(lines.number, error);
            }
            lines.number += 1;
        }
    }

    fn parse_one(
        &mut self,
        line: &[u8],
        intake: &mut Intake,
        wrapped: &mut String,
    ) -> Result<(), LineError> {
        if line.len() > self.event_bytes_max {
            return Err(self.oversize());
        }
        let line = str::from_utf8(line).map_err(|error| LineError {
            reason: "not_utf8",
            message: format!("not UTF-8: {error}"),
        })?;
        let line = match &mut self.envelope {
            Some(envelope) => {
                wrapped.clear();
                envelope.wrap(line, wrapped)?;
                wrapped
            }
            None => line,
        };
        Ok(intake.push_line(line, &mut self.types)?)
    }

    fn oversize(&self) -> LineError {
        LineError {
            reason: "oversize",
            message: format!("longer than {} bytes", self.event_bytes_max),
        }
    }

    fn count(&mut self, lines: &Lines) {
        self.stats.received.add(lines.intake.len() + lines.rejected);
        for (reason, count) in &lines.reasons {
            self.stats.reject(reason, *count);
        }
        for (line, error) in &lines.errors {
            self.log.refused(&self.source, &self.place, *line, error);
        }
        self.log.not_logged(lines.rejected - lines.errors.len());
    }
}

impl Drop for LineParser {
    fn drop(&mut self) {
        self.log.report_suppressed(&self.source, &self.place);
    }
}

impl From<veltrix_actors::EnvelopeError> for LineError {
    fn from(error: veltrix_actors::EnvelopeError) -> Self {
        Self {
            reason: error.reason(),
            message: error.to_string(),
        }
    }
}

/// What has been found so far.
struct Lines {
    intake: Intake,
    number: u64,
    rejected: usize,
    reasons: Vec<(&'static str, usize)>,
    errors: Vec<(u64, LineError)>,
}

impl Lines {
    fn new(first_line: u64) -> Self {
        Self {
            intake: Intake::over(String::new()),
            number: first_line,
            rejected: 0,
            reasons: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn refuse(&mut self, line: u64, mut error: LineError) {
        self.rejected += 1;
        match self
            .reasons
            .iter_mut()
            .find(|(reason, _)| *reason == error.reason)
        {
            Some((_, count)) => *count += 1,
            None => self.reasons.push((error.reason, 1)),
        }
        if self.errors.len() < ERRORS_MAX {
            if let Some((end, _)) = error.message.char_indices().nth(MESSAGE_CHARS_MAX) {
                error.message.truncate(end);
            }
            self.errors.push((line, error));
        }
    }
}

/// The next line from `start` on, without its line end.
fn next_line(bytes: &[u8], start: &mut usize) -> Option<Range<usize>> {
    if *start >= bytes.len() {
        return None;
    }
    let first = *start;
    let end = memchr(b'\n', &bytes[first..]).map_or(bytes.len(), |length| first + length);
    *start = end + 1;
    let has_return = end > first && bytes[end - 1] == b'\r';
    Some(first..end - usize::from(has_return))
}

#[cfg(test)]
mod tests {
    use veltrix_actors::{Registry, detached_types};

    use super::*;

    fn parser(event_bytes_max: usize) -> (LineParser, Arc<SourceStats>) {
        let stats = Registry::default().source("lines");
        let parser = LineParser::with(
            "lines".into(),
            "test".to_owned(),
            event_bytes_max,
            None,
            detached_types(),
            stats.clone(),
        );
        (parser, stats)
    }

    fn line(id: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#)
    }

    fn chunk(bytes: impl Into<Vec<u8>>) -> Chunk {
        Chunk {
            bytes: bytes.into(),
            first_line: 1,
            oversize_line: None,
        }
    }

    fn ids(parsed: &Parsed) -> Vec<String> {
        let event = |index| parsed.intake.event(index).id().into_owned();
        (0..parsed.intake.len()).map(event).collect()
    }

    #[test]
    fn returns_and_empty_lines_are_tolerated() {
        let (mut parser, stats) = parser(1_000);
        let parsed = parser.parse(chunk(format!("{}\r\n\n\r\n{}", line("a"), line("b"))));
        assert_eq!(ids(&parsed), ["a", "b"]);
        assert_eq!((parsed.rejected, stats.received.get()), (0, 2));
    }

    #[test]
    fn bad_lines_are_counted_and_their_neighbours_kept() {
        let (mut parser, stats) = parser(150);
        let mut bytes = format!("{}\nnope\n", line("a")).into_bytes();
        bytes.extend_from_slice(b"\"\xff\"\n");
        bytes.extend_from_slice(format!("{}\n{}", line(&"x".repeat(200)), line("b")).as_bytes());
        let parsed = parser.parse(chunk(bytes));
        assert_eq!(ids(&parsed), ["a", "b"]);
        let lines: Vec<_> = parsed.errors.iter().map(|(n, e)| (*n, e.reason)).collect();
        assert_eq!(lines, [(2, "not_json"), (3, "not_utf8"), (4, "oversize")]);
        assert_eq!((parsed.rejected, stats.received.get()), (3, 5));
        assert_eq!(
            stats.rejected(),
            [("not_json", 1), ("not_utf8", 1), ("oversize", 1)]
        );
    }

    #[test]
    fn only_the_first_errors_are_kept() {
        let (mut parser, stats) = parser(150);
        let parsed = parser.parse(chunk("nope\n".repeat(1_000)));
        assert_eq!((parsed.rejected, parsed.errors.len()), (1_000, ERRORS_MAX));
        assert_eq!(stats.rejected(), [("not_json", 1_000)]);
    }
}
