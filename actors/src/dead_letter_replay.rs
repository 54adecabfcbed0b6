//! Sends dead letters once more to the branches that gave them up, and knows which of them are finished again.
//!
//! A dead letter stays in the store until its event is finished, so that a crash forgets none; then it is for the actor to
//! remove it.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::Recipient;

use crate::batch::{Arena, Intake};
use crate::dead_letter_store::{DeadLetter, DeadLetterStore};
use crate::journal::JournalFailure;
use crate::mailbox::OutletReady;
use crate::memory::MemoryBudget;
use crate::origin::{Mark, Origin};
use crate::replay::{Pace, REPLAY_SOURCE, ReplayDirectory, ReplayOutlets, Wait, mark_replayed};
use crate::shared_finished::SharedFinished;
use crate::stats::Registry;
use crate::types::{TypeCache, TypeTable};

/// Dead letters that are on their way at a time.
const UNDER_WAY_MAX: usize = 4_096;
/// Dead letters that are sent before others of the actor's messages have their turn.
const SENT_PER_TURN_MAX: usize = 256;

/// What a replay needs of the process.
#[derive(Clone)]
pub struct ReplaySpec {
    /// Where events may be sent.
    pub targets: ReplayDirectory,
    /// The interned types.
    pub types: Arc<TypeTable>,
    /// Charged with what is sent.
    pub budget: Arc<MemoryBudget>,
}

/// One replay after the other.
pub(crate) struct Replay {
    outlets: ReplayOutlets,
    types: TypeCache,
    budget: Arc<MemoryBudget>,
    registry: Arc<Registry>,
    /// Still to be sent, the oldest first.
    queue: VecDeque<u64>,
    pace: Option<Pace>,
    /// Sent: the letter behind each ticket from `first_ticket` on, until it is known to be finished.
    under_way: VecDeque<Option<u64>>,
    first_ticket: u64,
    finished: Arc<SharedFinished>,
    left: usize,
}

impl Replay {
    pub(crate) fn new(
        spec: ReplaySpec,
        owner: Recipient<OutletReady>,
        registry: &Arc<Registry>,
        first_outlet: usize,
    ) -> Self {
        Self {
            outlets: ReplayOutlets::new(spec.targets, owner, registry, first_outlet),
            types: TypeCache::new(spec.types),
            budget: spec.budget,
            registry: Arc::clone(registry),
            queue: VecDeque::new(),
            pace: None,
            under_way: VecDeque::new(),
            first_ticket: 0,
            finished: Arc::default(),
            left: 0,
        }
    }

    /// Dead letters that are to be sent, or are sent and not finished.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Whether there is such a branch.
    pub(crate) fn has_way(&self, branch: &str) -> bool {
        self.outlets.targets().has(branch)
    }

    /// Has these sent, in this order.
    pub(crate) fn begin(&mut self, sequences: Vec<u64>, per_second: Option<u32>) {
        self.left = sequences.len();
        self.queue = sequences.into();
        self.pace = per_second.map(Pace::new);
        self.report();
    }

    /// Sends what can be sent now; `None` once everything is.
    pub(crate) fn go_on(
        &mut self,
        store: &mut dyn DeadLetterStore,
    ) -> Result<Option<Wait>, JournalFailure> {
        let mut wait = Wait::Turn;
        for _ in 0..SENT_PER_TURN_MAX {
            let Some(sequence) = self.queue.front().copied() else {
                break;
            };
            if self.registry.is_input_over() {
                self.give_up();
                break;
            }
            if self.under_way.len() >= UNDER_WAY_MAX || !self.budget.has_room() {
                wait = Wait::Event;
                break;
            }
            if let Some(pause) = self.pace.as_ref().and_then(Pace::wait) {
                wait = Wait::For(pause);
                break;
            }
            // One that was purged in the meantime is none to send.
            if let Some(letter) = store.get(sequence)? {
                if !self.send(&letter) {
                    wait = Wait::Event;
                    break;
                }
            } else {
                self.left -= 1;
            }
            self.queue.pop_front();
        }
        self.flush();
        self.report();
        Ok((!self.queue.is_empty()).then_some(wait))
    }

    /// What is sent now could come too late for the branch's actor.
    fn give_up(&mut self) {
        let letters = self.queue.len();
        tracing::warn!(
            letters,
            "the process drains: the replay ends before these dead letters"
        );
        self.left -= letters;
        self.queue.clear();
    }

    /// A credit has come back.
    pub(crate) fn flush(&mut self) {
        self.outlets.flush();
        if self.queue.is_empty() {
            self.outlets.close_if_empty();
        }
    }

    /// The dead letters whose events are finished by now. They are given again until they are forgotten.
    pub(crate) fn finished(&self) -> Vec<u64> {
        if self.under_way.is_empty() {
            return Vec::new();
        }
        let finished = self.finished.snapshot();
        let tickets = (self.first_ticket..).zip(&self.under_way);
        let ended = tickets.filter(|(ticket, _)| finished.contains(*ticket));
        ended.filter_map(|(_, sequence)| *sequence).collect()
    }

    /// Those are not in the store any more.
    pub(crate) fn forget(&mut self, sequences: &[u64]) {
        let gone: rustc_hash::FxHashSet<u64> = sequences.iter().copied().collect();
        for place in &mut self.under_way {
            if place.is_some_and(|sequence| gone.contains(&sequence)) {
                *place = None;
                self.left -= 1;
            }
        }
        while self.under_way.front() == Some(&None) {
            self.under_way.pop_front();
            self.first_ticket += 1;
        }
        self.report();
    }

    /// False if its way is congested.
    fn send(&mut self, letter: &DeadLetter) -> bool {
        let event = letter.event();
        let targets = self.outlets.targets();
        let Some(way) = self.outlets.way(&targets, &letter.failure.branch, &event) else {
            // Only what has a way was chosen.
            self.left -= 1;
            return true;
        };
        if !way.has_room() {
            return false;
        }
        let mut intake = Intake::over(String::new());
        let marked = mark_replayed(event.line());
        if let Err(error) = intake.push_line(&marked, &mut self.types) {
            // It has as many attributes as an event may have: it goes without the mark.
            tracing::warn!(sequence = letter.sequence, %error, "a dead letter is replayed unmarked");
            let unmarked = intake.push_line(event.line(), &mut self.types);
            unmarked.expect("it was an event when it was kept");
        }
        let mark = Mark {
            finished: self.finished.clone(),
            first: self.first_ticket + self.under_way.len() as u64,
        };
        let source = self.registry.former_source(REPLAY_SOURCE);
        let origin = Origin::accepted(1, intake.bytes(), source, Some(mark));
        let Intake { text, records } = intake;
        let arena = Arc::new(Arena::new(text, &self.budget));
        way.push(records[0], &arena, &origin, None);
        self.under_way.push_back(Some(letter.sequence));
        self.registry.dead_letter_store.replayed.add(1);
        if let Some(pace) = &mut self.pace {
            pace.sent += 1;
        }
        true
    }

    fn report(&self) {
        let stats = &self.registry.dead_letter_store;
        stats.set_waiting_for_replay(self.left);
    }
}
