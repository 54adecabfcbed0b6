//! Sends finished events that the journal still keeps once more: to the router, a handler's lanes or a sink.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use actix::prelude::Recipient;

use crate::batch::{Arena, Intake};
use crate::dead_letter_desk::{Answer, DeskError};
use crate::journal::{Journal, JournalFailure, Stored};
use crate::journal_desk::{JournalFilter, Kept};
use crate::mailbox::OutletReady;
use crate::memory::MemoryBudget;
use crate::origin::Origin;
use crate::replay::{
    Pace, REPLAY_SOURCE, ReplayDirectory, ReplayOutlets, ReplayTargets, Wait, mark_replayed,
};
use crate::shared_finished::SharedFinished;
use crate::stats::Registry;
use crate::types::{TypeCache, TypeTable};

/// Stored batches that are looked through before others of the actor's messages have their turn.
const LOOKED_THROUGH_PER_TURN_MAX: usize = 16;
/// Events that are sent before others have their turn.
const SENT_PER_TURN_MAX: usize = 256;
/// Numbers among which the first wanted event is not searched any more, but read.
const SEARCHED_MIN: u64 = 2_048;

/// What replays of the journal need and have under way.
pub(crate) struct JournalReplay {
    outlets: ReplayOutlets,
    types: TypeCache,
    budget: Arc<MemoryBudget>,
    registry: Arc<Registry>,
    counts: VecDeque<(Walk, usize, Answer<Kept>)>,
    sending: Option<Sending>,
}

/// A way through what the journal keeps.
struct Walk {
    filter: JournalFilter,
    /// The first wanted event is at or behind the start, and at or before the end; empty once it is found.
    search: Range<u64>,
    next: u64,
    end: u64,
}

struct Sending {
    walk: Walk,
    branch: String,
    pace: Option<Pace>,
    /// Read and not sent.
    lines: VecDeque<String>,
    sent: usize,
}

/// What one step of a walk came by.
enum Step {
    /// The lines that are wanted.
    Lines(Vec<String>),
    End,
}

impl Walk {
    fn new(filter: JournalFilter, kept: Range<u64>) -> Self {
        let from = kept.start;
        let search = match filter.from {
            Some(_) => from..kept.end,
            None => from..from,
        };
        Self {
            search,
            next: from,
            end: kept.end.min(filter.end),
            filter,
        }
    }

    /// Reads on, by one batch.
    fn step(
        &mut self,
        journal: &mut dyn Journal,
        finished: &SharedFinished,
    ) -> Result<Step, JournalFailure> {
        if self.search.end - self.search.start > SEARCHED_MIN {
            self.halve(journal)?;
            return Ok(Step::Lines(Vec::new()));
        }
        self.next = self.next.max(self.search.start);
        if self.next >= self.end {
            return Ok(Step::End);
        }
        let Some(stored) = journal.read(self.next)? else {
            return Ok(Step::End);
        };
        let from = std::mem::replace(&mut self.next, stored.first + stored.events as u64);
        if self.filter.until.is_some_and(|until| stored.at >= until) {
            self.next = self.end;
            return Ok(Step::End);
        }
        Ok(Step::Lines(self.wanted(&stored, from, finished)))
    }

    /// Looks at the time of what lies in the middle.
    fn halve(&mut self, journal: &mut dyn Journal) -> Result<(), JournalFailure> {
        let Range { start, end } = self.search;
        let middle = start + (end - start) / 2;
        let from = self.filter.from.unwrap_or(SystemTime::UNIX_EPOCH);
        match journal.read(middle)? {
            Some(stored) if stored.at < from => {
                self.search.start = (stored.first + stored.events as u64).min(end);
            }
            _ => self.search.end = middle,
        }
        Ok(())
    }

    fn wanted(&self, stored: &Stored, from: u64, finished: &SharedFinished) -> Vec<String> {
        let filter = &self.filter;
        if filter.from.is_some_and(|from| stored.at < from)
            || filter
                .source
                .as_ref()
                .is_some_and(|source| **source != *stored.source)
        {
            return Vec::new();
        }
        let numbers = stored.first..stored.first + stored.events as u64;
        let finished = finished.snapshot();
        let lines = numbers.zip(stored.lines.lines());
        let is_wanted = |number: &u64| {
            // What is not finished is on its way anyhow.
            *number >= from && *number < self.end && finished.contains(*number)
        };
        lines
            .filter(|(number, line)| is_wanted(number) && filter.wants_type(line))
            .map(|(_, line)| line.to_owned())
            .collect()
    }
}

impl JournalReplay {
    pub(crate) fn new(
        targets: ReplayDirectory,
        types: Arc<TypeTable>,
        budget: Arc<MemoryBudget>,
        owner: Recipient<OutletReady>,
        registry: &Arc<Registry>,
        first_outlet: usize,
    ) -> Self {
        Self {
            outlets: ReplayOutlets::new(targets, owner, registry, first_outlet),
            types: TypeCache::new(types),
            budget,
            registry: Arc::clone(registry),
            counts: VecDeque::new(),
            sending: None,
        }
    }

    /// Counts what the filter wants of the events kept. Bounded by the connections of the admin server.
    pub(crate) fn count(&mut self, filter: JournalFilter, kept: Range<u64>, answer: Answer<Kept>) {
        self.counts.push_back((Walk::new(filter, kept), 0, answer));
    }

    /// Begins to send what the filter wants.
    pub(crate) fn begin(
        &mut self,
        filter: JournalFilter,
        kept: Range<u64>,
        branch: String,
        per_second: Option<u32>,
    ) -> Result<(), DeskError> {
        if self.sending.is_some() {
            return Err(DeskError::Busy);
        }
        if !self.outlets.targets().has(&branch) {
            return Err(DeskError::Failed(format!("the config has no {branch}")));
        }
        self.sending = Some(Sending {
            walk: Walk::new(filter, kept),
            branch,
            pace: per_second.map(Pace::new),
            lines: VecDeque::new(),
            sent: 0,
        });
        self.registry.journal.set_replaying(true);
        Ok(())
    }

    /// Whether there is something to go on with.
    pub(crate) fn is_busy(&self) -> bool {
        !self.counts.is_empty() || self.sending.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.outlets.is_empty()
    }

    pub(crate) fn flush(&mut self) {
        self.outlets.flush();
        if self.sending.is_none() {
            self.outlets.close_if_empty();
        }
    }

    /// Does a part of what is to be done; `None` once all is.
    pub(crate) fn go_on(
        &mut self,
        journal: &mut dyn Journal,
        finished: &SharedFinished,
    ) -> Option<Wait> {
        self.count_on(journal, finished);
        let waited = match self.send_on(journal, finished) {
            Ok(waited) => waited,
            Err(error) => {
                tracing::error!(%error, "the replay ends: the journal cannot be read");
                self.end();
                None
            }
        };
        match self.counts.is_empty() {
            true => waited,
            false => Some(Wait::Turn),
        }
    }

    fn count_on(&mut self, journal: &mut dyn Journal, finished: &SharedFinished) {
        let Some((walk, count, _)) = self.counts.front_mut() else {
            return;
        };
        let mut answer = None;
        for _ in 0..LOOKED_THROUGH_PER_TURN_MAX {
            match walk.step(journal, finished) {
                Ok(Step::Lines(lines)) => *count += lines.len(),
                Ok(Step::End) => {
                    let (count, end) = (*count, walk.end);
                    answer = Some(Ok(Kept { count, end }));
                    break;
                }
                Err(error) => {
                    answer = Some(Err(DeskError::Failed(error.to_string())));
                    break;
                }
            }
        }
        if let Some(answer) = answer
            && let Some((_, _, asker)) = self.counts.pop_front()
            && asker.send(answer).is_err()
        {
            tracing::debug!("whoever asked for a count has gone");
        }
    }

    fn send_on(
        &mut self,
        journal: &mut dyn Journal,
        finished: &SharedFinished,
    ) -> Result<Option<Wait>, JournalFailure> {
        if self.sending.is_some() && self.registry.is_input_over() {
            tracing::warn!("the process drains: the replay ends early");
            self.end();
        }
        // The same ones for the whole turn, in which a reload may change them.
        let targets = self.outlets.targets();
        let Some(sending) = &mut self.sending else {
            return Ok(None);
        };
        if !targets.has(&sending.branch) {
            let (branch, events) = (&*sending.branch, sending.sent);
            tracing::warn!(
                branch,
                events,
                "the config has the branch no more: the replay ends early"
            );
            self.end();
            self.flush();
            return Ok(None);
        }
        for _ in 0..LOOKED_THROUGH_PER_TURN_MAX {
            if !sending.lines.is_empty() {
                break;
            }
            match sending.walk.step(journal, finished)? {
                Step::Lines(lines) => sending.lines.extend(lines),
                Step::End => {
                    let events = sending.sent;
                    tracing::info!(events, "the replay has sent everything");
                    self.end();
                    self.flush();
                    return Ok(None);
                }
            }
        }
        let wait = self.send(&targets);
        self.outlets.flush();
        Ok(Some(wait))
    }

    /// Sends what was read, as far as it may.
    fn send(&mut self, targets: &Arc<ReplayTargets>) -> Wait {
        let Some(sending) = &mut self.sending else {
            return Wait::Event;
        };
        let mut intake = Intake::over(String::new());
        let mut wait = Wait::Turn;
        while intake.len() < SENT_PER_TURN_MAX
            && let Some(line) = sending.lines.front()
        {
            if !self.budget.has_room() {
                wait = Wait::Event;
                break;
            }
            if let Some(pause) = sending.pace.as_ref().and_then(Pace::wait) {
                wait = Wait::For(pause);
                break;
            }
            let marked = mark_replayed(line);
            let parsed = intake.push_line(&marked, &mut self.types);
            if let Err(error) = parsed.or_else(|_| intake.push_line(line, &mut self.types)) {
                tracing::error!(%error, "a stored line is no event, and is not replayed");
                sending.lines.pop_front();
                continue;
            }
            let event = intake.event(intake.len() - 1);
            let way = self.outlets.way(targets, &sending.branch, &event);
            if !way.is_some_and(|way| way.has_room()) {
                intake.records.pop();
                wait = Wait::Event;
                break;
            }
            sending.lines.pop_front();
            if let Some(pace) = &mut sending.pace {
                pace.sent += 1;
            }
        }
        if !intake.is_empty() {
            sending.sent += intake.len();
            self.registry.journal.replayed.add(intake.len());
            self.hand_on(intake, targets);
        }
        wait
    }

    fn hand_on(&mut self, intake: Intake, targets: &Arc<ReplayTargets>) {
        let Some(sending) = &self.sending else { return };
        let Intake { text, mut records } = intake;
        let source = self.registry.former_source(REPLAY_SOURCE);
        let origin = Origin::accepted(records.len(), text.len(), source, None);
        let arena = Arc::new(Arena::new(text, &self.budget));
        for (index, record) in (0..).zip(&mut records) {
            record.index = index;
            let event = crate::event::Event::new(record, arena.text());
            let way = self.outlets.way(targets, &sending.branch, &event);
            let way = way.expect("its events were taken because there is a way");
            way.push(*record, &arena, &origin, None);
        }
    }

    fn end(&mut self) {
        self.sending = None;
        self.registry.journal.set_replaying(false);
    }
}
