//! Where dead letters are read and acted on from any thread: it asks the actor that owns them by a message, and outlives it.

use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::{Message, Recipient};
use tokio::sync::oneshot;

use crate::dead_letter_store::{
    DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterQuery, DeadLetterStore,
};
use crate::mailbox;

/// A question to the dead-letter actor, and where its answer goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum AskDeadLetters {
    Page(DeadLetterQuery, Answer<DeadLetterPage>),
    One(u64, Answer<Option<Arc<DeadLetter>>>),
    Count(DeadLetterFilter, Answer<Selected>),
    Purge(DeadLetterFilter, Answer<usize>),
    Replay(DeadLetterFilter, Option<u32>, Answer<Replaying>),
}

/// Where an answer goes, or why there is none.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, DeskError>>;

/// Why dead letters cannot be read or acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// There is nobody to ask.
    #[error("the process is starting or stopping, and cannot say")]
    Closed,
    /// A replay is under way.
    #[error("a replay is under way: wait for its end")]
    Busy,
    /// The disk.
    #[error("{0}")]
    Failed(String),
}

/// What a filter wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// How many.
    pub count: usize,
    /// The number of the last of them.
    pub last: u64,
}

/// A replay that was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replaying {
    /// Dead letters that are sent once more.
    pub count: usize,
    /// Dead letters that stay, because what gave them up is not in the config any more.
    pub homeless: usize,
}

/// Reads the dead letters of a process, and acts on them.
#[derive(Default)]
pub struct DeadLetterDesk {
    // Shared and locked, because the admin server's threads look the actor up here, and a restarted actor finds here what
    // the one before has kept.
    state: Mutex<DeskState>,
}

#[derive(Default)]
struct DeskState {
    actor: Option<Recipient<AskDeadLetters>>,
    left: Option<Box<dyn DeadLetterStore>>,
}

impl DeadLetterDesk {
    /// The newest dead letters that the query wants.
    ///
    /// # Errors
    /// Nobody can be asked, or the disk cannot be read.
    pub async fn page(&self, query: DeadLetterQuery) -> Result<DeadLetterPage, DeskError> {
        self.ask(|answer| AskDeadLetters::Page(query, answer)).await
    }

    /// The dead letter of that number, if it is kept.
    ///
    /// # Errors
    /// As [`DeadLetterDesk::page`].
    pub async fn get(&self, sequence: u64) -> Result<Option<Arc<DeadLetter>>, DeskError> {
        self.ask(|answer| AskDeadLetters::One(sequence, answer))
            .await
    }

    /// How many the filter wants.
    ///
    /// # Errors
    /// As [`DeadLetterDesk::page`].
    pub async fn count(&self, filter: DeadLetterFilter) -> Result<Selected, DeskError> {
        self.ask(|answer| AskDeadLetters::Count(filter, answer))
            .await
    }

    /// Forgets those that the filter wants; how many there were.
    ///
    /// # Errors
    /// As [`DeadLetterDesk::page`], or there is no room on the disk to write it down.
    pub async fn purge(&self, filter: DeadLetterFilter) -> Result<usize, DeskError> {
        self.ask(|answer| AskDeadLetters::Purge(filter, answer))
            .await
    }

    /// Begins to send those that the filter wants to the branches that gave them up, at most so many in a second.
    ///
    /// # Errors
    /// As [`DeadLetterDesk::page`], or a replay is under way.
    pub async fn replay(
        &self,
        filter: DeadLetterFilter,
        per_second: Option<u32>,
    ) -> Result<Replaying, DeskError> {
        self.ask(|answer| AskDeadLetters::Replay(filter, per_second, answer))
            .await
    }

    /// Puts an actor behind the desk.
    pub(crate) fn open(&self, actor: Recipient<AskDeadLetters>) {
        self.lock().actor = Some(actor);
    }

    /// What an actor that ended has left.
    pub(crate) fn take(&self) -> Option<Box<dyn DeadLetterStore>> {
        self.lock().left.take()
    }

    /// Keeps what an actor leaves for the next one.
    pub(crate) fn leave(&self, store: Box<dyn DeadLetterStore>) {
        self.lock().left = Some(store);
    }

    /// Bounded by the connections of the admin server, each of which waits for its answer.
    async fn ask<T>(
        &self,
        question: impl FnOnce(Answer<T>) -> AskDeadLetters,
    ) -> Result<T, DeskError> {
        let (answer, answered) = oneshot::channel();
        let actor = self.lock().actor.clone().ok_or(DeskError::Closed)?;
        mailbox::control(&actor, question(answer));
        answered.await.unwrap_or(Err(DeskError::Closed))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
