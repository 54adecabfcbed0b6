//! The message between actors: many events that share refcounted arenas.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::envelope::{self, EnvelopeError};
use crate::event::{Event, EventRecord};
use crate::memory::{Charge, MemoryBudget};
use crate::origin::Origin;
use crate::types::{TypeCache, TypeTable};

/// Events in a batch.
pub const BATCH_EVENTS_MAX: usize = 1_024;
/// Bytes of events in a batch, unless a single event is longer.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// The text of some events, charged to the memory budget as long as any of them lives.
#[derive(Debug)]
pub struct Arena {
    text: String,
    charge: Charge,
}

impl Arena {
    /// Takes over `text` and charges it.
    pub fn new(text: String, budget: &Arc<MemoryBudget>) -> Self {
        Self {
            charge: budget.charge(text.capacity()),
            text,
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        self.charge.budget().recycle(text.into_bytes());
    }
}

/// Events on their way: records, and the arenas and origins that they point to.
#[derive(Clone, Debug, Default)]
pub struct EventBatch {
    records: Vec<EventRecord>,
    arenas: Shared<Arena>,
    origins: Shared<Origin>,
    bytes: usize,
}

/// Most batches come from one or two intakes, and need no allocation to say so.
type Shared<T> = SmallVec<[Arc<T>; 2]>;

impl EventBatch {
    /// An empty batch with room for `events`.
    pub(crate) fn with_capacity(events: usize) -> Self {
        Self {
            records: Vec::with_capacity(events),
            ..Self::default()
        }
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of the events' lines.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one more event of `bytes` would exceed a batch's limits.
    pub fn is_full_for(&self, bytes: usize) -> bool {
        !self.is_empty() && (self.len() >= BATCH_EVENTS_MAX || self.bytes + bytes > BATCH_BYTES_MAX)
    }

    /// Whether the batch has reached its limits.
    pub fn is_full(&self) -> bool {
        self.len() >= BATCH_EVENTS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// The event at `index`.
    ///
    /// # Panics
    /// If `index` is not below [`EventBatch::len`].
    pub fn event(&self, index: usize) -> Event<'_> {
        let record = &self.records[index];
        Event::new(record, self.arenas[usize::from(record.arena)].text())
    }

    /// All events in order.
    pub fn iter(&self) -> impl Iterator<Item = Event<'_>> {
        self.records
            .iter()
            .map(|record| Event::new(record, self.arenas[usize::from(record.arena)].text()))
    }

    /// The text of all events, as pieces that are as long as possible: each is one or more lines with nothing but a newline
    /// between them, and none after the last.
    pub fn runs(&self) -> impl Iterator<Item = &str> {
        self.records
            .chunk_by(|a, b| {
                let text = self.arenas[usize::from(a.arena)].text().as_bytes();
                let end = a.line_range().end;
                a.arena == b.arena && b.line_range().start == end + 1 && text[end] == b'\n'
            })
            .map(|run| {
                let lines = run[0].line_range().start..run[run.len() - 1].line_range().end;
                &self.arenas[usize::from(run[0].arena)].text()[lines]
            })
    }

    /// Reports all events as done, each to its origin.
    pub fn complete(&self) {
        self.complete_range(0..self.len());
    }

    /// Reports the events of `range` as done, each to its origin.
    ///
    /// # Panics
    /// If `range` reaches past [`EventBatch::len`].
    pub fn complete_range(&self, range: std::ops::Range<usize>) {
        for run in self.records[range].chunk_by(|a, b| a.origin == b.origin) {
            self.origins[usize::from(run[0].origin)].complete(run.len());
        }
    }

    pub(crate) fn records(&self) -> &[EventRecord] {
        &self.records
    }

    pub(crate) fn arena(&self, index: u16) -> &Arc<Arena> {
        &self.arenas[usize::from(index)]
    }

    pub(crate) fn origin(&self, index: u16) -> &Arc<Origin> {
        &self.origins[usize::from(index)]
    }

    pub(crate) fn origins(&self) -> &[Arc<Origin>] {
        &self.origins
    }

    /// Appends one event that lies in `arena` and counts for `origin`.
    pub(crate) fn push(
        &mut self,
        mut record: EventRecord,
        arena: &Arc<Arena>,
        origin: &Arc<Origin>,
    ) {
        record.arena = shared_index(&mut self.arenas, arena);
        record.origin = shared_index(&mut self.origins, origin);
        self.bytes += record.line_bytes();
        self.records.push(record);
    }

    /// Appends all of `other`.
    pub(crate) fn append(&mut self, other: &EventBatch) {
        for record in &other.records {
            self.push(
                *record,
                other.arena(record.arena),
                other.origin(record.origin),
            );
        }
    }

    /// Makes all events count for one new origin; they keep nothing of the former ones.
    pub(crate) fn adopt(&mut self, origin: Arc<Origin>) -> Shared<Origin> {
        for (index, record) in self.records.iter_mut().enumerate() {
            record.origin = 0;
            record.index = u16::try_from(index).expect("a batch holds few events");
        }
        std::mem::replace(&mut self.origins, smallvec![origin])
    }

    /// Puts finished text and the records in it together.
    pub(crate) fn from_parts(
        records: Vec<EventRecord>,
        arena: Arc<Arena>,
        origin: Arc<Origin>,
    ) -> Self {
        let bytes = records.iter().map(EventRecord::line_bytes).sum();
        Self {
            records,
            arenas: smallvec![arena],
            origins: smallvec![origin],
            bytes,
        }
    }
}

/// The index of `item` in `list`, which is nearly always the last one since events come in runs.
fn shared_index<T>(list: &mut Shared<T>, item: &Arc<T>) -> u16 {
    if !list.last().is_some_and(|last| Arc::ptr_eq(last, item)) {
        list.push(Arc::clone(item));
    }
    u16::try_from(list.len() - 1).expect("a batch has no more arenas and origins than events")
}

/// Events that a source took in and has not handed over yet: text, and the records found in it.
#[derive(Debug)]
pub struct Intake {
    pub(crate) text: String,
    pub(crate) records: Vec<EventRecord>,
}

/// Bytes of an event, guessed low rather than high, to have room for its record.
const LIKELY_EVENT_BYTES: usize = 256;

impl Intake {
    /// Intake over text whose events [`Intake::parse`] will find.
    pub fn over(text: String) -> Self {
        Self {
            records: Vec::with_capacity(text.len() / LIKELY_EVENT_BYTES),
            text,
        }
    }

    /// Number of events found.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no event was found.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of the text.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The text, for finding the lines in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The event found at `index`.
    ///
    /// # Panics
    /// If `index` is not below [`Intake::len`].
    pub fn event(&self, index: usize) -> Event<'_> {
        Event::new(&self.records[index], &self.text)
    }

    /// Parses the event on the line at `range` of the text and keeps it.
    ///
    /// # Errors
    /// What makes the line no event; the intake is unchanged.
    ///
    /// # Panics
    /// If `range` lies outside the text or splits a character.
    pub fn parse(
        &mut self,
        range: std::ops::Range<usize>,
        types: &mut TypeCache,
    ) -> Result<(), EnvelopeError> {
        let record = parse_record(&self.text, range, types)?;
        self.records.push(record);
        Ok(())
    }

    /// Appends one line (without its newline) and parses it.
    ///
    /// # Errors
    /// What makes the line no event; the intake is unchanged.
    pub fn push_line(&mut self, line: &str, types: &mut TypeCache) -> Result<(), EnvelopeError> {
        let start = self.text.len();
        self.text.push_str(line);
        let parsed = self.parse(start..self.text.len(), types);
        if parsed.is_err() {
            self.text.truncate(start);
        }
        parsed
    }
}

/// Checks one event without keeping it.
///
/// # Errors
/// What makes the line no event.
pub fn check_line(line: &str) -> Result<(), EnvelopeError> {
    envelope::parse(line).map(|_| ())
}

pub(crate) fn parse_record(
    text: &str,
    range: std::ops::Range<usize>,
    types: &mut TypeCache,
) -> Result<EventRecord, EnvelopeError> {
    let start = range.start;
    let line = &text[range];
    let envelope = envelope::parse(line)?;
    let type_id = match envelope.escaped {
        false => types.intern(envelope.event_type),
        true => types.intern(&envelope::unescape(envelope.event_type)),
    };
    record_of(start, line, &envelope, type_id)
}

/// The record of a line whose parts are known, if they fit into one.
pub(crate) fn record_of(
    start: usize,
    line: &str,
    envelope: &envelope::Envelope<'_>,
    type_id: crate::types::TypeId,
) -> Result<EventRecord, EnvelopeError> {
    if start + line.len() > u32::MAX as usize {
        return Err(EnvelopeError::TooLong);
    }
    Ok(EventRecord::new(start, line.len(), envelope, line, type_id))
}

/// A type cache over a table of its own, for tools and tests that parse outside a running process.
pub fn detached_types() -> TypeCache {
    TypeCache::new(Arc::new(TypeTable::default()))
}
