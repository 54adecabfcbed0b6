//! Copies of dead letters for a sink: events of type `veltrix.dead-letter` that stand for the events they were made of.

use std::sync::Arc;

use actix::prelude::Recipient;
use rustc_hash::FxHashMap;

use crate::batch::{Arena, BATCH_BYTES_MAX, EventBatch};
use crate::dead_letter_store::DeadLetter;
use crate::derive::Deriver;
use crate::event::EventRecord;
use crate::handler::HandlerError;
use crate::lane_spec::Target;
use crate::mailbox::{Custody, OutletReady};
use crate::memory::MemoryBudget;
use crate::origin::Origin;
use crate::outlet::Outlet;
use crate::stats::Registry;
use crate::types::TypeTable;

/// The type of copies.
pub const DEAD_LETTER_TYPE: &str = "veltrix.dead-letter";

/// Where dead letters are sent to beside being kept.
#[derive(Clone)]
pub struct AlsoTo {
    /// The sink's name: its own dead letters are not sent to it.
    pub sink: Arc<str>,
    /// The sink.
    pub target: Target,
    /// The service's name, part of the copies' `source`.
    pub service: Arc<str>,
    /// The process's types.
    pub types: Arc<TypeTable>,
    /// What the copies are charged to.
    pub budget: Arc<MemoryBudget>,
}

/// Writes copies and sends them.
pub(crate) struct Copier {
    to: AlsoTo,
    /// `sink.NAME`
    own_branch: String,
    outlet: Outlet,
    /// By branch, so that the copies of one event differ in their ids when several branches give it up.
    derivers: FxHashMap<Arc<str>, Deriver>,
    data: String,
    /// What is not gathered in the outlet yet; the last one is being written.
    written: Vec<Written>,
}

/// Copies in one text, each with what the event counts for.
#[derive(Default)]
struct Written {
    text: String,
    copies: Vec<(EventRecord, Arc<Origin>)>,
}

impl Copier {
    pub(crate) fn new(to: AlsoTo, owner: Recipient<OutletReady>, registry: &Arc<Registry>) -> Self {
        Self {
            outlet: Outlet::to(&to.target, owner, 0, registry),
            own_branch: format!("sink.{}", to.sink),
            derivers: FxHashMap::default(),
            data: String::new(),
            written: Vec::new(),
            to,
        }
    }

    /// Whether the dead letter is one to copy: those of the sink itself would go round for ever.
    pub(crate) fn wants(&self, letter: &DeadLetter) -> bool {
        *letter.failure.branch != *self.own_branch
    }

    /// Writes a copy of an event of `batch`, which stands for the event from now on: it is done when the copy is.
    pub(crate) fn copy(
        &mut self,
        letter: &DeadLetter,
        batch: &EventBatch,
    ) -> Result<(), HandlerError> {
        let branch = &letter.failure.branch;
        let service = &self.to.service;
        let deriver = self
            .derivers
            .entry(Arc::clone(branch))
            .or_insert_with(|| Deriver::new(service, &format!("dead-letters.{branch}")));
        self.data.clear();
        letter.write_json(&mut self.data);
        let is_full = |written: &Written| written.text.len() >= BATCH_BYTES_MAX;
        if self.written.last().is_none_or(is_full) {
            self.written.push(Written::default());
        }
        let written = self.written.last_mut().expect("one was just made");
        let start = written.text.len();
        let record = deriver.write(
            &mut written.text,
            &letter.event(),
            DEAD_LETTER_TYPE,
            self.to.types.intern(DEAD_LETTER_TYPE),
            0,
            // The data is JSON, whatever the event's own is.
            &[("datacontenttype".to_owned(), None)],
            Some(&self.data),
        );
        match record {
            Ok(record) => {
                let origin = Arc::clone(batch.origin(record.origin));
                written.copies.push((record, origin));
                Ok(())
            }
            Err(error) => {
                written.text.truncate(start);
                Err(error)
            }
        }
    }

    /// Sends what was written. If the sink is slow, the batch's custody is held until it is sent.
    pub(crate) fn hand_on(&mut self, custody: Option<Custody>) {
        self.gather(custody.map(Arc::new).as_ref());
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        self.outlet.flush();
    }

    fn gather(&mut self, custody: Option<&Arc<Custody>>) {
        for Written { text, copies } in self.written.drain(..) {
            let arena = Arc::new(Arena::new(text, &self.to.budget));
            for (record, origin) in copies {
                self.outlet.push(record, &arena, &origin, custody);
            }
        }
    }
}

impl Drop for Copier {
    /// The events of these copies are committed, so an end of the actor must not take them along: the outlet sends them.
    fn drop(&mut self) {
        self.gather(None);
    }
}
