//! The door: events that came before are left out of a batch before it is stored.
//!
//! They are answered with their group, and so only once the first of them is durable.

use std::time::SystemTime;

use super::JournalActor;
use crate::batch::{EventBatch, Intake};
use crate::dedupe::{Dedupe, Verdict};
use crate::journal::Journal;
use crate::mailbox::Deliver;
use crate::types::TypeCache;

/// The rule by which an event is dropped that came before.
pub const DUPLICATE: &str = "duplicate";

/// A batch that was written, and is not synced yet.
pub(super) struct Written {
    pub(super) deliver: Deliver,
    /// Those of its events that were new, if not all were.
    pub(super) new: Option<EventBatch>,
    /// The number of its first event.
    pub(super) first: u64,
}

impl Written {
    /// The events that were written.
    pub(super) fn batch(&self) -> &EventBatch {
        self.new.as_ref().unwrap_or_else(|| self.deliver.batch())
    }
}

/// What the door has made of a batch.
#[derive(Default)]
pub(super) struct Judged {
    /// Those of its events that are new, if not all are.
    pub(super) new: Option<EventBatch>,
    /// How many are new.
    count: usize,
    /// For each of its origins how many came before, and how many contradict one that did.
    left_out: Vec<(usize, usize)>,
}

impl JournalActor {
    /// Judges the events of a batch; those that are new are known from now on.
    pub(super) fn judge(&mut self, batch: &EventBatch) -> Judged {
        let Some(dedupe) = &mut self.dedupe else {
            return Judged::default();
        };
        let now = SystemTime::now();
        let judge = |index| dedupe.judge(&batch.event(index), now);
        let verdicts: Vec<Verdict> = (0..batch.len()).map(judge).collect();
        let is_new = |verdict: &&Verdict| **verdict == Verdict::New;
        let count = verdicts.iter().filter(is_new).count();
        if count == batch.len() {
            return Judged {
                count,
                ..Judged::default()
            };
        }
        let mut new = EventBatch::with_capacity(count);
        let mut left_out = vec![(0, 0); batch.origins().len()];
        for (record, verdict) in batch.records().iter().zip(verdicts) {
            let of_origin = &mut left_out[usize::from(record.origin)];
            match verdict {
                Verdict::New => {
                    new.push(
                        *record,
                        batch.arena(record.arena),
                        batch.origin(record.origin),
                    );
                }
                Verdict::Duplicate => of_origin.0 += 1,
                Verdict::Conflict => of_origin.1 += 1,
            }
        }
        Judged {
            new: Some(new),
            count,
            left_out,
        }
    }

    /// What was judged is written: what was left out is nobody's any more.
    pub(super) fn leave_out(&self, batch: &EventBatch, judged: &Judged) {
        let mut duplicates = 0;
        for (origin, (known, contradictory)) in batch.origins().iter().zip(&judged.left_out) {
            origin.leave_out(*known, *contradictory);
            duplicates += known;
        }
        if duplicates > 0 {
            self.spec.registry.drop_by_rule(DUPLICATE, duplicates);
        }
    }

    /// What was judged could not be written.
    pub(super) fn take_back(&mut self, judged: &Judged) {
        if let Some(dedupe) = &mut self.dedupe {
            dedupe.take_back(judged.count);
        }
    }
}

/// Has the door know what the journal has of the window.
pub(super) fn remember(dedupe: &mut Dedupe, journal: &mut dyn Journal, mut types: TypeCache) {
    let spec = dedupe.spec();
    let now = SystemTime::now();
    let oldest = now.checked_sub(spec.window);
    let mut next = journal
        .end()
        .saturating_sub(spec.keys_max as u64)
        .max(journal.oldest());
    loop {
        let stored = match journal.read(next) {
            Ok(Some(stored)) => stored,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "events that came before cannot be read, and may come again");
                return;
            }
        };
        next = stored.first + stored.events as u64;
        if oldest.is_some_and(|oldest| stored.at < oldest) {
            continue;
        }
        for line in stored.lines.lines() {
            let mut intake = Intake::over(String::new());
            if intake.push_line(line, &mut types).is_ok() {
                dedupe.judge(&intake.event(0), stored.at);
            }
        }
    }
}
