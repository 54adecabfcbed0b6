//! Where replays of the journal are asked for from any thread: by a message to the journal's actor.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use actix::prelude::{Message, Recipient};
use tokio::sync::oneshot;

use crate::dead_letter_desk::{Answer, DeskError};
use crate::envelope;
use crate::mailbox;
use crate::pattern::TypePattern;
use crate::replay::ReplayDirectory;

/// Which of the finished events that the journal keeps are wanted: all that are set must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalFilter {
    /// Stored at this time or later.
    pub from: Option<SystemTime>,
    /// Stored before this time.
    pub until: Option<SystemTime>,
    /// The events' types.
    pub types: Option<TypePattern>,
    /// The source that took them in.
    pub source: Option<String>,
    /// Those before this number.
    pub end: u64,
}

impl Default for JournalFilter {
    fn default() -> Self {
        Self {
            from: None,
            until: None,
            types: None,
            source: None,
            end: u64::MAX,
        }
    }
}

impl JournalFilter {
    /// Whether the event on the line is of a wanted type.
    pub(crate) fn wants_type(&self, line: &str) -> bool {
        let Some(types) = &self.types else {
            return true;
        };
        let is_wanted = |envelope: envelope::Envelope<'_>| match envelope.escaped {
            true => types.matches(&envelope::unescape(envelope.event_type)),
            false => types.matches(envelope.event_type),
        };
        envelope::parse(line).is_ok_and(is_wanted)
    }
}

/// What a filter wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many.
    pub count: usize,
    /// Behind the last event that was looked at: [`JournalFilter::end`] for the same ones.
    pub end: u64,
}

/// A question to the journal's actor, and where its answer goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum AskJournal {
    Count(JournalFilter, Answer<Kept>),
    Replay(JournalFilter, String, Option<u32>, Answer<()>),
}

/// What the journal's actor needs to replay.
#[derive(Clone)]
pub struct JournalReplaySpec {
    /// Where events may be sent.
    pub targets: ReplayDirectory,
    /// Where it is asked for.
    pub desk: Arc<JournalDesk>,
}

/// Has the journal replay events.
#[derive(Debug, Default)]
pub struct JournalDesk {
    // Shared and locked, because the admin server's threads look the actor up here.
    actor: Mutex<Option<Recipient<AskJournal>>>,
}

impl JournalDesk {
    /// How many the filter wants.
    ///
    /// # Errors
    /// Nobody can be asked, or the journal cannot be read.
    pub async fn count(&self, filter: JournalFilter) -> Result<Kept, DeskError> {
        self.ask(|answer| AskJournal::Count(filter, answer)).await
    }

    /// Begins to send those that the filter wants to a branch (`handler.NAME`, `sink.NAME` or `router`), at most so many in
    /// a second.
    ///
    /// # Errors
    /// Nobody can be asked, there is no such branch, or a replay is under way.
    pub async fn replay(
        &self,
        filter: JournalFilter,
        branch: String,
        per_second: Option<u32>,
    ) -> Result<(), DeskError> {
        self.ask(|answer| AskJournal::Replay(filter, branch, per_second, answer))
            .await
    }

    /// Puts the actor behind the desk.
    pub(crate) fn open(&self, actor: Recipient<AskJournal>) {
        *self.lock() = Some(actor);
    }

    async fn ask<T>(&self, question: impl FnOnce(Answer<T>) -> AskJournal) -> Result<T, DeskError> {
        let (answer, answered) = oneshot::channel();
        let actor = self.lock().clone().ok_or(DeskError::Closed)?;
        mailbox::control(&actor, question(answer));
        answered.await.unwrap_or(Err(DeskError::Closed))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Recipient<AskJournal>>> {
        self.actor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
