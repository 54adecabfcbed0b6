//! Replays: finished events that are still kept are sent once more.

use actix::prelude::{AsyncContext, Context, Handler};

use super::JournalActor;
use crate::dead_letter_desk::DeskError;
use crate::journal_desk::AskJournal;
use crate::replay::Wait;

/// Sent by the actor to itself: goes on with replays.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(super) struct ReplayOn;

impl JournalActor {
    /// Goes on with what waits, if there is a reason to hope.
    pub(super) fn replay_later(&mut self, ctx: &mut Context<Self>) {
        let is_busy = self.replay.as_ref().is_some_and(|replay| replay.is_busy());
        if is_busy && !std::mem::replace(&mut self.is_replaying, true) {
            ctx.notify(ReplayOn);
        }
    }

    fn replay_on(&mut self, ctx: &mut Context<Self>) {
        self.is_replaying = false;
        let Some(replay) = &mut self.replay else {
            return;
        };
        match replay.go_on(&mut *self.journal, &self.read_back.finished) {
            Some(Wait::Turn) => self.replay_later(ctx),
            Some(Wait::For(pause)) => {
                self.is_replaying = true;
                ctx.run_later(pause, Self::replay_on);
            }
            // The next returned credit, or the next look at the cursor, asks again.
            Some(Wait::Event) | None => {}
        }
    }
}

impl Handler<ReplayOn> for JournalActor {
    type Result = ();

    fn handle(&mut self, _: ReplayOn, ctx: &mut Context<Self>) {
        self.replay_on(ctx);
    }
}

impl Handler<AskJournal> for JournalActor {
    type Result = ();

    fn handle(&mut self, question: AskJournal, ctx: &mut Context<Self>) {
        let kept = self.journal.oldest()..self.synced_end();
        let Some(replay) = &mut self.replay else {
            return;
        };
        match question {
            AskJournal::Count(filter, answer) => replay.count(filter, kept, answer),
            AskJournal::Replay(filter, branch, per_second, answer) => {
                let begun: Result<(), DeskError> = replay.begin(filter, kept, branch, per_second);
                if answer.send(begun).is_err() {
                    tracing::debug!("whoever asked for a replay has gone");
                }
            }
        }
        self.replay_later(ctx);
    }
}
