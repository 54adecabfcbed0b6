//! Reading back: what a process before this one left unfinished, and what came while it was busy with that.

use std::sync::Arc;

use actix::prelude::{ActorFutureExt, AsyncContext, Context};

use super::{JournalActor, signed};
use crate::batch::{Arena, EventBatch, Intake};
use crate::journal::Stored;
use crate::origin::{Mark, Origin};
use crate::source_stats::SourceStats;

/// Batches that are read back before others of the actor's messages have their turn.
const READS_PER_TURN_MAX: usize = 64;

/// The rule by which a stored line that is no event any more is passed over: it was one when it was accepted.
const UNREADABLE: &str = "journal-unreadable";

/// Sent by the actor to itself: reads some batches back.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(super) struct ReadOn;

impl JournalActor {
    /// Reads some stored batches back and hands them on, as long as they would not have to wait.
    pub(super) fn read_on(&mut self, ctx: &mut Context<Self>) {
        self.is_reading = false;
        if !self.spec.budget.has_room() {
            let budget = self.spec.budget.clone();
            self.is_reading = true;
            let room = async move { budget.room().await };
            ctx.spawn(
                actix::fut::wrap_future::<_, Self>(room).map(|(), _, ctx| ctx.notify(ReadOn)),
            );
            return;
        }
        for _ in 0..READS_PER_TURN_MAX {
            if self.next >= self.synced_end() || !self.outlet.has_room() {
                break;
            }
            match self.journal.read(self.next) {
                Ok(Some(stored)) if stored.first < self.synced_end() => self.hand_on(stored),
                Ok(_) => self.skip_to(self.synced_end()),
                Err(failure) => return self.fail(&failure, ctx),
            }
        }
        self.outlet.flush();
        self.read_later(ctx);
    }

    pub(super) fn read_later(&mut self, ctx: &mut Context<Self>) {
        if self.next >= self.synced_end() {
            self.held_back.clear();
        } else if self.outlet.has_room() && !std::mem::replace(&mut self.is_reading, true) {
            // Otherwise a returned credit has it read on.
            ctx.notify(ReadOn);
        }
    }

    /// Passes over numbers that the journal has nothing for: they were damaged, which its opening has reported.
    fn skip_to(&mut self, number: u64) {
        let missing = self.finished.missing(self.next..number);
        if missing > 0 {
            tracing::error!(
                events = missing,
                from = self.next,
                to = number,
                "the journal lacks events that were stored: they are damaged"
            );
            self.spec
                .registry
                .drop_by_rule(UNREADABLE, usize::try_from(missing).unwrap_or(usize::MAX));
            self.take_off_backlog(missing);
            self.spec.registry.in_flight.add(-signed(missing));
        }
        self.finished.insert(self.next..number);
        self.next = number;
    }

    fn take_off_backlog(&mut self, events: u64) {
        self.spec.registry.journal.backlog.add(-signed(events));
        let mut read = events;
        while let Some((_, held)) = self.held_back.front_mut() {
            let step = read.min(*held);
            *held -= step;
            read -= step;
            if *held > 0 {
                break;
            }
            self.held_back.pop_front();
        }
    }

    fn hand_on(&mut self, stored: Stored) {
        if stored.first > self.next {
            self.skip_to(stored.first);
        }
        let end = stored.first + stored.events as u64;
        let from = self.next;
        self.next = end;
        let source = self.spec.registry.former_source(&stored.source);
        let is_recovered = stored.first < self.recovered_end;
        let first = stored.first;
        let mut intake = Intake::over(stored.lines);
        let mut start = 0;
        // The numbers of the intake's events: what is finished already, and what is no event any more, has none.
        let mut numbers = Vec::with_capacity(stored.events);
        let mut unreadable = 0;
        for number in first..end {
            let length = memchr::memchr(b'\n', &intake.text.as_bytes()[start..]);
            let line = start..length.map_or(intake.text.len(), |length| start + length);
            start = (line.end + 1).min(intake.text.len());
            if number < from || self.recovered.contains(number) {
                continue;
            }
            match intake.parse(line, &mut self.types) {
                Ok(()) => numbers.push(number),
                Err(error) => {
                    tracing::error!(number, %error, "a stored line is no event");
                    unreadable += 1;
                    self.finished.insert(number..number + 1);
                }
            }
        }
        if unreadable > 0 {
            self.spec.registry.drop_by_rule(UNREADABLE, unreadable);
            self.spec.registry.in_flight.add(-signed(unreadable as u64));
        }
        self.take_off_backlog((numbers.len() + unreadable) as u64);
        if is_recovered {
            source.recover(numbers.len());
        }
        self.send(intake, &numbers, &source);
    }

    /// Hands on events that were read back, with an origin for each run of their numbers.
    fn send(&mut self, intake: Intake, numbers: &[u64], source: &Arc<SourceStats>) {
        let Intake { text, mut records } = intake;
        if records.is_empty() {
            return;
        }
        let event_bytes = text.len().div_ceil(records.len());
        let arena = Arc::new(Arena::new(text, &self.spec.budget));
        let mut rest = records.as_mut_slice();
        for run in numbers.chunk_by(|a, b| a + 1 == *b) {
            let (records, others) = rest.split_at_mut(run.len());
            rest = others;
            for (index, record) in (0..).zip(records.iter_mut()) {
                record.index = index;
            }
            let mark = Mark {
                finished: self.finished.clone(),
                first: run[0],
            };
            let origin =
                Origin::read_back(run.len(), run.len() * event_bytes, source.clone(), mark);
            let batch = EventBatch::from_parts(records.to_vec(), arena.clone(), origin);
            self.outlet.append(batch);
        }
    }
}
