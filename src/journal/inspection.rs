//! Looks at a log that nobody has open: what its segments hold, what is damaged, what waits. It changes nothing.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use veltrix_actors::Finished;

use super::cursor::{is_cursor, read_cursor};
use super::error::OpenError;
use super::reader::{StoredRecord, take_tag};
use super::recovery::read_headers;
use super::scanner::{Item, Scanner};
use super::segment::{
    SEGMENT_HEADER_BYTES, Segment, SegmentHeader, decode_header, name_of, sequences_of,
};
use super::storage::{Storage, read_full};
use super::tail::try_body;

/// A log in a directory, opened to be looked at.
#[derive(Debug)]
pub(crate) struct Inspection<S> {
    storage: S,
    segments: Vec<Segment>,
    finished: Finished,
    is_cursor_lost: bool,
    /// Everything below was synced, as far as anything that was read says.
    durable: u64,
}

/// One segment as its name and header tell it.
#[derive(Clone, Debug)]
pub(crate) struct SegmentSummary {
    pub(crate) name: String,
    pub(crate) first: u64,
    /// The sequence behind its last event.
    pub(crate) end: u64,
    pub(crate) bytes: u64,
    pub(crate) created_ms: u64,
}

/// What is met on a walk.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// A record, whose tag is empty if its body was not to be read.
    Record { record: StoredRecord, bytes: u64 },
    /// Numbers that an earlier start gave up, because their records were torn.
    Void,
    /// Bytes that are no record, and the numbers that are missing with them.
    Gap(Finding),
}

/// Bytes that are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The segment's file.
    pub(crate) segment: String,
    pub(crate) bytes: Range<u64>,
    pub(crate) events: Range<u64>,
    /// A write that was not finished, and so not acknowledged. The next start cuts it off.
    pub(crate) is_torn: bool,
}

/// What there is when everything was read and each checksum compared.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    pub(crate) records: u64,
    pub(crate) events: u64,
    pub(crate) findings: Vec<Finding>,
    /// There are segments, and no cursor that is whole.
    pub(crate) is_cursor_lost: bool,
}

impl Verified {
    /// Whether something is lost that had been acknowledged, or could have been.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_cursor_lost || self.findings.iter().any(|finding| !finding.is_torn)
    }
}

/// How much there is of what.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) events: u64,
    /// Sequence of the oldest event, and of the next one.
    pub(crate) sequences: Range<u64>,
    /// When the oldest and the newest record were written.
    pub(crate) times_ms: Option<(u64, u64)>,
    pub(crate) finished_prefix: u64,
    pub(crate) is_cursor_lost: bool,
    /// What is not finished, by source.
    pub(crate) backlog: BTreeMap<String, Backlog>,
}

/// What waits of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) events: u64,
    /// Of whole records, finished events in them included.
    pub(crate) bytes: u64,
}

/// What waits in a log, at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) events: u64,
    /// Some of it cannot be read: more may wait, or, without a cursor, less.
    pub(crate) is_damaged: bool,
}

impl<S: Storage> Inspection<S> {
    /// Reads the cursor and the headers of the segments.
    ///
    /// # Errors
    /// The directory or a file cannot be opened, or a newer program wrote it.
    pub(crate) fn open(mut storage: S) -> Result<Self, OpenError> {
        let files = storage.list(None).map_err(OpenError::io("list the log"))?;
        // Who looks wants to see what is left: a header that cannot be read is as one that is damaged.
        let segments = read_headers(&mut storage, &files, |_| Ok(0))?;
        let state = match files.iter().any(|(name, _)| is_cursor(name)) {
            true => read_cursor(&mut storage)?.state,
            false => None,
        };
        let is_cursor_lost = state.is_none() && !segments.is_empty();
        let oldest = segments.first().map_or(0, |segment| segment.first);
        let (finished, durable) = match state {
            Some(state) => {
                let durable = state.synced.max(state.finished.end());
                (state.finished, durable)
            }
            None => (Finished::below(oldest), 0),
        };
        Ok(Self {
            storage,
            segments,
            finished,
            is_cursor_lost,
            durable,
        })
    }

    /// The segments, oldest first. The last one's records are looked at, which say where it ends; a torn one does not count.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn segments(&mut self) -> Result<Vec<SegmentSummary>, OpenError> {
        let mut end = self.segments.last().map_or(0, |last| last.first);
        self.walk(end, self.durable, |found| {
            match found {
                Found::Record { record, .. } => end = record.sequences().end,
                Found::Gap(finding) if !finding.is_torn => end = end.max(finding.events.end),
                Found::Gap(_) | Found::Void => {}
            }
            ControlFlow::Continue(())
        })?;
        let summary = |(index, segment): (usize, &Segment)| SegmentSummary {
            name: segment.name(),
            first: segment.first,
            end: self.segments.get(index + 1).map_or(end, |next| next.first),
            bytes: segment.bytes,
            created_ms: segment.created_ms,
        };
        Ok(self.segments.iter().enumerate().map(summary).collect())
    }

    /// Walks all records from the one with the sequence `from` on, until `visit` has enough. Bodies are read, and their
    /// checksums compared, of records with events from `bodies_from` on; of others the header is all that is looked at.
    pub(crate) fn walk(
        &mut self,
        from: u64,
        bodies_from: u64,
        mut visit: impl FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), OpenError> {
        let behind = self
            .segments
            .partition_point(|segment| segment.first <= from);
        for index in behind.saturating_sub(1)..self.segments.len() {
            let mut visit = |found: Found| match &found {
                Found::Record { record, .. } if record.sequences().end <= from => {
                    ControlFlow::Continue(())
                }
                Found::Gap(finding) if finding.events.end <= from && from > 0 => {
                    ControlFlow::Continue(())
                }
                _ => visit(found),
            };
            if self
                .walk_segment(index, bodies_from, &mut visit)?
                .is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn walk_segment(
        &mut self,
        index: usize,
        bodies_from: u64,
        visit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, OpenError> {
        let segment = self.segments[index].clone();
        let sequences = sequences_of(&self.segments, index, u64::MAX);
        let name = segment.name();
        let open = self.storage.open(&name);
        let file = open.map_err(OpenError::io(format!("open {name}")))?;
        let mut scanner = Scanner::new(sequences.clone(), segment.bytes);
        let (mut end, mut valid_bytes) = (segment.first, SEGMENT_HEADER_BYTES as u64);
        let mut body = Vec::new();
        let gap = |bytes, events, is_torn| {
            Found::Gap(Finding {
                segment: name.clone(),
                bytes,
                events,
                is_torn,
            })
        };
        loop {
            let (offset, header) = match scanner.next(&mut self.storage, &file) {
                Item::Record { offset, header } | Item::Void { offset, header } => (offset, header),
                Item::Damage { .. } => continue,
                Item::End { bytes } => {
                    let rest = valid_bytes..bytes.end.max(valid_bytes);
                    let is_last = index + 1 == self.segments.len();
                    let missing_end = if is_last { self.durable } else { sequences.end };
                    let missing = end..missing_end.max(end);
                    if self.is_forgotten(&rest, &missing) {
                        return Ok(ControlFlow::Continue(()));
                    }
                    let is_torn = missing.is_empty();
                    return Ok(visit(gap(rest, missing, is_torn)));
                }
            };
            // The header is whole whatever the body is, so what it says of earlier records holds.
            self.durable = self.durable.max(header.durable);
            let found = if header.is_void {
                Found::Void
            } else {
                let is_read = header.end() > bodies_from;
                if is_read && !try_body(&mut self.storage, &file, offset, &header, &mut body) {
                    continue;
                }
                let record = match is_read {
                    true => take_tag(&header, &mut body),
                    false => Some(StoredRecord::untagged(&header)),
                };
                let Some(record) = record else { continue };
                let bytes = header.bytes();
                Found::Record { record, bytes }
            };
            let (before, missing) = (valid_bytes..offset, end..header.first);
            // Whether a gap of the last segment was ever acknowledged is known when all of it was read.
            if !self.is_forgotten(&before, &missing)
                && visit(gap(before, missing, false)).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            (end, valid_bytes) = (header.end(), offset + header.bytes());
            if visit(found).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Whether there is nothing to say of what is missing: segments whose events are finished go, in any order when the
    /// power goes with them.
    fn is_forgotten(&self, bytes: &Range<u64>, events: &Range<u64>) -> bool {
        bytes.is_empty() && self.finished.covers(events.clone())
    }

    /// Reads everything and compares each checksum.
    pub(crate) fn verify(&mut self) -> Result<Verified, OpenError> {
        let mut verified = Verified {
            is_cursor_lost: self.is_cursor_lost,
            findings: self.damaged_headers()?,
            ..Verified::default()
        };
        let last = self.segments.last().map(Segment::name);
        let oldest = self.segments.first().map(|segment| segment.first);
        if let Some(oldest) = oldest
            && self.finished.prefix() < oldest
        {
            verified.findings.push(Finding {
                segment: name_of(oldest),
                bytes: 0..0,
                events: self.finished.prefix()..oldest,
                is_torn: false,
            });
        }
        self.walk(0, 0, |found| {
            match found {
                Found::Record { record, .. } => {
                    verified.records += 1;
                    verified.events += u64::from(record.events);
                }
                Found::Void => {}
                Found::Gap(finding) => verified.findings.push(finding),
            }
            ControlFlow::Continue(())
        })?;
        for finding in &mut verified.findings {
            let is_in_doubt = last.as_ref() == Some(&finding.segment)
                && finding.bytes.start >= SEGMENT_HEADER_BYTES as u64;
            finding.is_torn |= is_in_doubt && finding.events.start >= self.durable;
        }
        Ok(verified)
    }

    fn damaged_headers(&mut self) -> Result<Vec<Finding>, OpenError> {
        let mut findings = Vec::new();
        for segment in &self.segments {
            let name = segment.name();
            let open = self.storage.open(&name);
            let file = open.map_err(OpenError::io(format!("open {name}")))?;
            let mut header = [0; SEGMENT_HEADER_BYTES];
            let filled = read_full(&mut self.storage, &file, 0, &mut header).unwrap_or(0);
            if decode_header(&header[..filled]) == SegmentHeader::Damaged {
                findings.push(Finding {
                    segment: name,
                    bytes: 0..SEGMENT_HEADER_BYTES as u64,
                    events: segment.first..segment.first,
                    is_torn: false,
                });
            }
        }
        Ok(findings)
    }

    /// What is not finished, by the headers of its records alone: bodies may be many, and are not read.
    pub(crate) fn unfinished(&mut self) -> Result<Unfinished, OpenError> {
        let finished = self.finished.clone();
        let mut unfinished = Unfinished {
            events: 0,
            is_damaged: self.is_cursor_lost,
        };
        self.walk(finished.prefix(), u64::MAX, |found| {
            match found {
                Found::Record { record, .. } => {
                    unfinished.events += finished.missing(record.sequences());
                }
                Found::Void => {}
                Found::Gap(finding) => {
                    unfinished.is_damaged |= finished.missing(finding.events) > 0
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(unfinished)
    }

    /// Counts. Only what is not finished is read in full.
    pub(crate) fn stats(&mut self) -> Result<Stats, OpenError> {
        let oldest = self.segments.first().map(|segment| segment.first);
        let mut stats = Stats {
            segments: self.segments.len(),
            bytes: self.segments.iter().map(|segment| segment.bytes).sum(),
            finished_prefix: self.finished.prefix(),
            is_cursor_lost: self.is_cursor_lost,
            ..Stats::default()
        };
        let finished = self.finished.clone();
        let mut end = 0;
        self.walk(0, finished.prefix(), |found| {
            if let Found::Record { record, bytes } = found {
                stats.records += 1;
                stats.events += u64::from(record.events);
                let (oldest_ms, _) = stats.times_ms.unwrap_or((record.time_ms, 0));
                stats.times_ms = Some((oldest_ms, record.time_ms));
                end = record.sequences().end;
                let missing = finished.missing(record.sequences());
                if missing > 0 {
                    let backlog = stats.backlog.entry(record.tag).or_default();
                    backlog.events += missing;
                    backlog.bytes += bytes;
                }
            }
            ControlFlow::Continue(())
        })?;
        let end = end.max(self.durable);
        stats.sequences = oldest.unwrap_or(end)..end;
        Ok(stats)
    }
}
