//! Reads the log's records in order, and says which sequences cannot be read any more.

use std::ops::Range;

use super::error::ReadError;
use super::quarantine;
use super::record::RecordHeader;
use super::scanner::{Item, Scanner};
use super::segment::{Segment, name_of, sequences_of};
use super::storage::Storage;
use super::tail::try_body;

/// What comes next in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The record that holds the sequence asked for.
    Record(StoredRecord),
    /// From the sequence asked for on, these are not on the disk any more.
    Lost(Range<u64>),
    /// Nothing that is synced.
    End,
}

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Sequence of its first event.
    pub first: u64,
    /// Number of its events.
    pub events: u32,
    /// What was appended with it.
    pub tag: String,
    /// When it was appended, in milliseconds since the epoch.
    pub time_ms: u64,
}

impl StoredRecord {
    /// What a header alone tells: its tag is empty.
    pub(super) fn untagged(header: &RecordHeader) -> Self {
        Self {
            first: header.first,
            events: header.events,
            tag: String::new(),
            time_ms: header.time_ms,
        }
    }

    /// The sequences of its events.
    pub fn sequences(&self) -> Range<u64> {
        self.first..self.first + u64::from(self.events)
    }
}

/// The log's synced part, as a reader sees it.
pub(super) struct Readable<'a> {
    pub(super) segments: &'a [Segment],
    /// The sequence below which everything is synced.
    pub(super) end: u64,
    /// Where the synced part of the last segment ends.
    pub(super) last_bytes: u64,
}

/// A place in a log. To read on from there costs no search.
#[derive(Debug)]
pub(super) struct Reader<F> {
    place: Option<Place<F>>,
}

#[derive(Debug)]
struct Place<F> {
    segment: u64,
    file: F,
    scanner: Scanner,
    /// The first damaged bytes since the last record.
    damaged_from: Option<u64>,
}

impl<F> Default for Reader<F> {
    fn default() -> Self {
        Self { place: None }
    }
}

impl<F> Reader<F> {
    /// What there is at or behind the sequence `from`; a record's payload is put into `payload`.
    pub(super) fn read<S: Storage<File = F>>(
        &mut self,
        storage: &mut S,
        log: &Readable<'_>,
        from: u64,
        payload: &mut Vec<u8>,
    ) -> Result<Next, ReadError> {
        if from >= log.end {
            return Ok(Next::End);
        }
        let index = match log
            .segments
            .partition_point(|segment| segment.first <= from)
        {
            0 => {
                let oldest = log.segments.first().map_or(log.end, |oldest| oldest.first);
                return Ok(Next::Lost(from..oldest.min(log.end)));
            }
            count => count - 1,
        };
        let sequences = sequences_of(log.segments, index, log.end);
        let is_last = index + 1 == log.segments.len();
        let length = match is_last {
            true => log.last_bytes,
            false => log.segments[index].bytes,
        };
        let place = match self.seek(storage, sequences.clone(), length, from)? {
            Some(place) => place,
            None => return Ok(Next::Lost(from..sequences.end)),
        };
        Ok(place.read(storage, from, payload).unwrap_or_else(|| {
            self.place = None;
            Next::Lost(from..sequences.end)
        }))
    }

    /// The place in the segment that holds `sequences`, at or before `from`; none if the file is gone.
    fn seek<S: Storage<File = F>>(
        &mut self,
        storage: &mut S,
        sequences: Range<u64>,
        length: u64,
        from: u64,
    ) -> Result<Option<&mut Place<F>>, ReadError> {
        let is_near =
            |place: &Place<F>| place.segment == sequences.start && place.scanner.expected <= from;
        if !self.place.as_ref().is_some_and(is_near) {
            let name = name_of(sequences.start);
            let file = match storage.open(&name) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    tracing::error!(segment = name, "a segment of the log is gone");
                    self.place = None;
                    return Ok(None);
                }
                Err(source) => return Err(ReadError { name, source }),
            };
            self.place = Some(Place {
                segment: sequences.start,
                file,
                scanner: Scanner::new(sequences.clone(), length),
                damaged_from: None,
            });
        }
        let place = self.place.as_mut().expect("it was just set");
        // The last segment grows between two reads.
        place.scanner.limit = sequences.end;
        place.scanner.length = length;
        Ok(Some(place))
    }
}

impl<F> Place<F> {
    /// The next item of this segment; none if nothing at or behind `from` is left in it.
    fn read<S: Storage<File = F>>(
        &mut self,
        storage: &mut S,
        from: u64,
        payload: &mut Vec<u8>,
    ) -> Option<Next> {
        loop {
            match self.scanner.next(storage, &self.file) {
                Item::Record { offset, header } => {
                    self.report_damage(storage, offset);
                    if header.end() <= from {
                        continue;
                    }
                    if header.first > from {
                        self.scanner.step_back(offset, &header);
                        return Some(Next::Lost(from..header.first));
                    }
                    if try_body(storage, &self.file, offset, &header, payload)
                        && let Some(record) = take_tag(&header, payload)
                    {
                        return Some(Next::Record(record));
                    }
                    self.damaged_from = Some(offset);
                    self.report_damage(storage, offset + header.bytes());
                    return Some(Next::Lost(from..header.end()));
                }
                Item::Void { offset, .. } => self.report_damage(storage, offset),
                Item::Damage { bytes } => {
                    self.damaged_from.get_or_insert(bytes.start);
                }
                Item::End { bytes } => {
                    if !bytes.is_empty() {
                        self.damaged_from.get_or_insert(bytes.start);
                        self.report_damage(storage, bytes.end);
                    }
                    return None;
                }
            }
        }
    }

    fn report_damage<S: Storage<File = F>>(&mut self, storage: &mut S, end: u64) {
        if let Some(start) = self.damaged_from.take() {
            let name = name_of(self.segment);
            tracing::error!(
                segment = name,
                offset = start,
                bytes = end - start,
                "the log is damaged: what cannot be read is lost"
            );
            quarantine::keep(storage, &name, &self.file, start..end);
        }
    }
}

/// Takes the tag off the front of a record's body.
pub(super) fn take_tag(header: &RecordHeader, body: &mut Vec<u8>) -> Option<StoredRecord> {
    let tag_bytes = usize::from(header.tag_bytes);
    let tag = std::str::from_utf8(&body[..tag_bytes]).ok()?.to_owned();
    body.drain(..tag_bytes);
    Some(StoredRecord {
        tag,
        ..StoredRecord::untagged(header)
    })
}
