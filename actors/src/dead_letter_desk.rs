//! Where dead letters are read from any thread: it asks the actor that owns them by a message, and outlives it.

use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::{Message, Recipient};
use tokio::sync::oneshot;

use crate::dead_letter_store::{DeadLetter, DeadLetterPage, DeadLetterQuery, DeadLetterStore};
use crate::mailbox;

/// A question to the dead-letter actor, and where its answer goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum ReadDeadLetters {
    Page(DeadLetterQuery, oneshot::Sender<DeadLetterPage>),
    One(u64, oneshot::Sender<Option<Arc<DeadLetter>>>),
}

/// Reads the dead letters of a process.
#[derive(Debug, Default)]
pub struct DeadLetterDesk {
    // Shared and locked, because the admin server's threads look the actor up here, and a restarted actor finds here what
    // the one before has kept.
    state: Mutex<DeskState>,
}

#[derive(Debug, Default)]
struct DeskState {
    actor: Option<Recipient<ReadDeadLetters>>,
    left: Option<DeadLetterStore>,
}

impl DeadLetterDesk {
    /// The newest dead letters that the query wants; `None` while there is no actor to ask.
    pub async fn page(&self, query: DeadLetterQuery) -> Option<DeadLetterPage> {
        let (answer, answered) = oneshot::channel();
        self.ask(ReadDeadLetters::Page(query, answer))?;
        answered.await.ok()
    }

    /// The dead letter of that number, if it is kept; `None` while there is no actor to ask.
    pub async fn get(&self, sequence: u64) -> Option<Option<Arc<DeadLetter>>> {
        let (answer, answered) = oneshot::channel();
        self.ask(ReadDeadLetters::One(sequence, answer))?;
        answered.await.ok()
    }

    /// Puts an actor behind the desk.
    pub(crate) fn open(&self, actor: Recipient<ReadDeadLetters>) {
        self.lock().actor = Some(actor);
    }

    /// What an actor that ended has left.
    pub(crate) fn take(&self) -> Option<DeadLetterStore> {
        self.lock().left.take()
    }

    /// Keeps what an actor leaves for the next one.
    pub(crate) fn leave(&self, store: DeadLetterStore) {
        self.lock().left = Some(store);
    }

    /// Bounded by the connections of the admin server, each of which waits for its answer.
    fn ask(&self, question: ReadDeadLetters) -> Option<()> {
        let actor = self.lock().actor.clone()?;
        mailbox::control(&actor, question);
        Some(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
