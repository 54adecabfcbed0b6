//! What the actor is asked at its desk: dead letters to be read, counted, purged or sent once more.

use actix::prelude::{AsyncContext, Context, Handler};

use super::DeadLetterActor;
use crate::dead_letter_desk::{Answer, AskDeadLetters, DeskError, Replaying, Selected};
use crate::dead_letter_store::DeadLetterFilter;
use crate::journal::{JournalFailure, JournalRefusal};
use crate::replay::Wait;

/// Sent by the actor to itself: goes on with a replay.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(super) struct ReplayOn;

impl DeadLetterActor {
    pub(super) fn answer(&mut self, question: AskDeadLetters, ctx: &mut Context<Self>) {
        match question {
            AskDeadLetters::Page(query, answer) => {
                let page = self.store().page(&query);
                give(answer, page.map_err(|failure| failed(&failure)));
            }
            AskDeadLetters::One(sequence, answer) => {
                let letter = self.store().get(sequence);
                give(answer, letter.map_err(|failure| failed(&failure)));
            }
            AskDeadLetters::Count(filter, answer) => {
                let found = self.select(&filter).map(|sequences| Selected {
                    count: sequences.len(),
                    last: sequences.last().copied().unwrap_or(0),
                });
                give(answer, found);
            }
            AskDeadLetters::Purge(filter, answer) => {
                let purged = self.purge(&filter);
                self.report();
                give(answer, purged);
                self.try_waiting(ctx);
            }
            AskDeadLetters::Replay(filter, per_second, answer) => {
                let begun = self.begin_replay(&filter, per_second);
                give(answer, begun);
                self.replay_later(ctx);
            }
        }
    }

    fn select(&mut self, filter: &DeadLetterFilter) -> Result<Vec<u64>, DeskError> {
        let selected = self.store().select(filter);
        selected.map_err(|failure| failed(&failure))
    }

    fn purge(&mut self, filter: &DeadLetterFilter) -> Result<usize, DeskError> {
        let sequences = self.select(filter)?;
        let purged = self.store().remove(&sequences);
        let purged = purged.map_err(|refusal| DeskError::Failed(refusal.to_string()))?;
        self.spec.registry.dead_letter_store.purged.add(purged);
        self.store().tidy().map_err(|failure| failed(&failure))?;
        Ok(purged)
    }

    fn begin_replay(
        &mut self,
        filter: &DeadLetterFilter,
        per_second: Option<u32>,
    ) -> Result<Replaying, DeskError> {
        let sequences = self.select(filter)?;
        let Some(replay) = &mut self.replay else {
            return Err(DeskError::Closed);
        };
        if replay.left() > 0 {
            return Err(DeskError::Busy);
        }
        let store = self.store.as_mut().expect("it is left at the end only");
        let mut homed = Vec::with_capacity(sequences.len());
        let mut homeless = 0;
        for sequence in sequences {
            match store.branch(sequence) {
                Some(branch) if replay.has_way(&branch) => homed.push(sequence),
                Some(_) => homeless += 1,
                None => {}
            }
        }
        let count = homed.len();
        replay.begin(homed, per_second);
        Ok(Replaying { count, homeless })
    }

    pub(super) fn replay_later(&mut self, ctx: &mut Context<Self>) {
        let is_running = self.replay.as_ref().is_some_and(|replay| replay.left() > 0);
        if is_running && !std::mem::replace(&mut self.is_replay_due, true) {
            ctx.notify(ReplayOn);
        }
    }

    fn replay_on(&mut self, ctx: &mut Context<Self>) {
        self.is_replay_due = false;
        let (Some(replay), Some(store)) = (&mut self.replay, &mut self.store) else {
            return;
        };
        match replay.go_on(store.as_mut()) {
            Ok(Some(Wait::Turn)) => self.replay_later(ctx),
            Ok(Some(Wait::For(pause))) => {
                self.is_replay_due = true;
                ctx.run_later(pause, Self::replay_on);
            }
            Ok(Some(Wait::Event) | None) => {}
            Err(failure) => self.fail(&failure, ctx),
        }
    }

    /// Forgets the dead letters whose events are finished again.
    pub(super) fn look_after_replay(&mut self, ctx: &mut Context<Self>) {
        let (Some(replay), Some(store)) = (&mut self.replay, &mut self.store) else {
            return;
        };
        let finished = replay.finished();
        if !finished.is_empty() {
            match store.remove(&finished) {
                Ok(_) => replay.forget(&finished),
                // They stay until there is room to write down that they are gone.
                Err(JournalRefusal::Full(reason)) => {
                    tracing::debug!(reason, "what was replayed cannot be removed yet");
                }
                Err(JournalRefusal::Failed(failure)) => return self.fail(&failure, ctx),
            }
            self.report();
        }
        self.replay_later(ctx);
    }
}

impl Handler<AskDeadLetters> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, question: AskDeadLetters, ctx: &mut Context<Self>) {
        match self.is_prepared {
            true => self.answer(question, ctx),
            false => self.questions.push_back(question),
        }
    }
}

impl Handler<ReplayOn> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, _: ReplayOn, ctx: &mut Context<Self>) {
        self.replay_on(ctx);
    }
}

fn failed(failure: &JournalFailure) -> DeskError {
    DeskError::Failed(failure.to_string())
}

fn give<T>(answer: Answer<T>, what: Result<T, DeskError>) {
    if answer.send(what).is_err() {
        tracing::debug!("whoever asked for dead letters has gone");
    }
}
