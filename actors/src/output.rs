//! Where a handler writes its results: one arena for a run of events, cut back when an event fails.

use std::borrow::Cow;
use std::sync::Arc;

use crate::attribute_rules::check_depth;
use crate::batch::{Arena, EventBatch, parse_record};
use crate::dead_letter::Failure;
use crate::derive::Deriver;
use crate::envelope::DEPTH_MAX;
use crate::event::{Event, EventRecord};
use crate::handler::{HandlerError, Refusal, Reply, ReplyResult};
use crate::memory::MemoryBudget;
use crate::types::TypeCache;

/// Results that one event may have; more fail it.
pub const RESULTS_PER_EVENT_MAX: usize = 1_024;
/// Bytes that the results of one event may have together; more fail it.
pub const RESULT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The results of a lane's current run of events.
pub(crate) struct LaneOutput {
    text: String,
    emitted: Vec<Emitted>,
    types: TypeCache,
    deriver: Deriver,
    budget: Arc<MemoryBudget>,
    refusal: Option<Refusal>,
}

pub(crate) struct Emitted {
    pub(crate) record: EventRecord,
    pub(crate) to: Destination,
}

pub(crate) enum Destination {
    /// All targets of the handler, out of the input's arena.
    Passed,
    /// All targets of the handler, out of the arena written here.
    Written,
    /// The way of events that no handler wants.
    Unmatched,
    /// Nowhere: a conditional handler took the event.
    Taken,
    /// Nowhere, unless all conditional handlers refuse the event.
    Refused,
    /// Boxed, because nearly no result is one and all results are moved.
    DeadLetter(Box<Failure>),
}

/// How far the output was before an event.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    text: usize,
    emitted: usize,
}

impl Mark {
    pub(crate) fn emitted(self) -> usize {
        self.emitted
    }
}

impl LaneOutput {
    pub(crate) fn new(types: TypeCache, deriver: Deriver, budget: Arc<MemoryBudget>) -> Self {
        Self {
            text: String::new(),
            emitted: Vec::new(),
            types,
            deriver,
            budget,
            refusal: None,
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            text: self.text.len(),
            emitted: self.emitted.len(),
        }
    }

    /// Takes back what was written since `mark`.
    pub(crate) fn truncate(&mut self, mark: Mark) {
        self.text.truncate(mark.text);
        self.emitted.truncate(mark.emitted);
        self.refusal = None;
    }

    pub(crate) fn for_event<'a>(&'a mut self, batch: &'a EventBatch, index: usize) -> Output<'a> {
        self.refusal = None;
        let before = self.mark();
        Output {
            event: batch.event(index),
            is_changed: false,
            lane: self,
            before,
        }
    }

    pub(crate) fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }

    pub(crate) fn emit_input(&mut self, batch: &EventBatch, index: usize, to: Destination) {
        let record = batch.records()[index];
        self.emitted.push(Emitted { record, to });
    }

    pub(crate) fn is_full(&self) -> bool {
        self.text.len() >= crate::batch::BATCH_BYTES_MAX
            || self.emitted.len() >= crate::batch::BATCH_EVENTS_MAX
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.emitted.clear();
    }

    /// Takes the emptied list back, to be filled again without an allocation.
    pub(crate) fn give_back(&mut self, emptied: Vec<Emitted>) {
        self.emitted = emptied;
    }

    /// Hands out what was emitted, and the arena that the written ones lie in.
    pub(crate) fn take(&mut self) -> (Vec<Emitted>, Option<Arc<Arena>>) {
        let arena = (!self.text.is_empty()).then(|| {
            // The next run will be like this one.
            let next = self
                .budget
                .buffer(self.text.len().min(crate::batch::BATCH_BYTES_MAX));
            let next = String::from_utf8(next).expect("an empty buffer is text");
            Arc::new(Arena::new(
                std::mem::replace(&mut self.text, next),
                &self.budget,
            ))
        });
        (std::mem::take(&mut self.emitted), arena)
    }
}

/// What a handler does with one event. Results go to all of the handler's `to`, in the order in which they are written.
pub struct Output<'a> {
    event: Event<'a>,
    /// The event is not the one of the batch, but one with another byte in it.
    is_changed: bool,
    lane: &'a mut LaneOutput,
    before: Mark,
}

impl Output<'_> {
    /// Passes the event on as itself; nothing is copied.
    ///
    /// # Errors
    /// Too many results.
    pub fn pass(&mut self) -> Result<(), HandlerError> {
        if self.is_changed {
            let line = self.event.line();
            return self.pass_with_data(|text| {
                text.push_str(line);
                Ok(())
            });
        }
        self.emitted(*self.event.record(), Destination::Passed)
    }

    /// Emits a derived result with this type and `data` (raw JSON).
    ///
    /// # Errors
    /// `event_type` is empty, `data` is not JSON, or there is too much.
    pub fn emit(&mut self, event_type: &str, data: &str) -> Result<(), HandlerError> {
        if serde_json::from_str::<serde::de::IgnoredAny>(data).is_err() {
            return Err(HandlerError::permanent("the result's data is not JSON"));
        }
        // In valid JSON raw newlines stand between tokens only, where they mean nothing.
        let compact = without_newlines(data);
        check_depth(&compact, DEPTH_MAX - 1)
            .map_err(|error| HandlerError::permanent(error.to_string()))?;
        self.derive(event_type, &[], Some(&compact))
    }

    /// As [`Output::emit`] for `data` that is known to be one JSON value without raw newlines; `None` keeps the event's
    /// payload. Edited attributes are given with their raw JSON text, or `None` if the result shall not have them.
    ///
    /// # Errors
    /// `event_type` is empty, or there is too much.
    pub fn derive(
        &mut self,
        event_type: &str,
        attributes: &[(String, Option<String>)],
        data: Option<&str>,
    ) -> Result<(), HandlerError> {
        let number = self.lane.emitted.len() - self.before.emitted;
        let type_id = self.lane.types.intern(event_type);
        let deriver = &self.lane.deriver;
        let record = deriver.write(
            &mut self.lane.text,
            &self.event,
            event_type,
            type_id,
            number,
            attributes,
            data,
        )?;
        self.emitted(record, Destination::Written)
    }

    /// Passes the event on as itself with another `data`: the writer appends the whole line, which may differ from the
    /// event's in `data`'s value only.
    ///
    /// # Errors
    /// Those of the writer, the event has no `data`, or too much.
    pub fn pass_with_data(
        &mut self,
        write_line: impl FnOnce(&mut String) -> Result<(), HandlerError>,
    ) -> Result<(), HandlerError> {
        let start = self.lane.text.len();
        write_line(&mut self.lane.text)?;
        let len = self.lane.text.len() - start;
        let record = self.event.record().with_data_edited(start, len);
        self.emitted(record, Destination::Written)
    }

    /// Emits a complete event of the handler's own making: the writer appends one line of CloudEvents JSON.
    ///
    /// # Errors
    /// Those of the writer, the line is no event, or too much.
    pub fn write_event(
        &mut self,
        write_line: impl FnOnce(&mut String) -> Result<(), HandlerError>,
    ) -> Result<(), HandlerError> {
        let start = self.lane.text.len();
        write_line(&mut self.lane.text)?;
        if let Cow::Owned(compact) = without_newlines(&self.lane.text[start..]) {
            self.lane.text.truncate(start);
            self.lane.text.push_str(&compact);
        }
        let range = start..self.lane.text.len();
        let mut record = parse_record(&self.lane.text, range, &mut self.lane.types)
            .map_err(|error| HandlerError::Permanent(format!("the result is no event: {error}")))?;
        record.counts_for(self.event.record());
        self.emitted(record, Destination::Written)
    }

    /// The output of the same event with another byte in it.
    pub(crate) fn of_changed<'b>(&'b mut self, event: Event<'b>) -> Output<'b> {
        Output {
            event,
            is_changed: true,
            lane: &mut *self.lane,
            before: self.before,
        }
    }

    /// Says that the handler's condition does not hold: the event counts as not matched by this handler.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.lane.refusal = Some(refusal);
    }

    pub(crate) fn reply(&mut self, reply: Reply) -> Result<(), HandlerError> {
        let results = match reply {
            Reply::Refused(refusal) => {
                self.refuse(refusal);
                return Ok(());
            }
            Reply::Results(results) => results,
        };
        for result in results {
            match result {
                ReplyResult::Pass => self.pass()?,
                ReplyResult::Data { event_type, data } => self.emit(&event_type, &data)?,
                ReplyResult::Event(line) => self.write_event(|text| {
                    text.push_str(&line);
                    Ok(())
                })?,
            }
        }
        Ok(())
    }

    fn emitted(&mut self, record: EventRecord, to: Destination) -> Result<(), HandlerError> {
        if self.lane.emitted.len() - self.before.emitted >= RESULTS_PER_EVENT_MAX {
            return Err(HandlerError::Permanent(format!(
                "more than {RESULTS_PER_EVENT_MAX} results"
            )));
        }
        if self.lane.text.len() - self.before.text > RESULT_BYTES_MAX {
            return Err(HandlerError::Permanent(format!(
                "results of more than {RESULT_BYTES_MAX} bytes"
            )));
        }
        self.lane.emitted.push(Emitted { record, to });
        Ok(())
    }
}

/// An event is one line, whatever a handler's JSON library makes of it.
fn without_newlines(json: &str) -> Cow<'_, str> {
    match memchr::memchr2(b'\n', b'\r', json.as_bytes()) {
        None => Cow::Borrowed(json),
        Some(_) => Cow::Owned(json.replace(['\n', '\r'], "")),
    }
}
