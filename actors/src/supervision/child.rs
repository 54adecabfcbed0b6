//! What a supervisor and a child know of each other: the spec, the lifeline, and the messages between them.

use std::time::Duration;

use actix::prelude::{Message, Recipient};

use crate::mailbox::control;

/// When a child that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Only if it failed.
    Transient,
    /// Never.
    Temporary,
}

/// Asks an actor to finish its work and end.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// It was done, or was told to stop.
    Normal,
    /// It gave up with this error.
    Failed(String),
    /// It panicked.
    Panicked,
}

/// A child could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// News of a child.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ChildEvent {
    pub(crate) index: usize,
    pub(crate) generation: u64,
    pub(crate) news: News,
}

#[derive(Clone, Debug)]
pub(crate) enum News {
    /// It exists and can be told to stop.
    Spawned(Recipient<Stop>),
    /// It is ready.
    Started,
    Exited(ExitReason),
}

/// A child as data: who it is, how it is started, and what its end means.
pub struct ChildSpec {
    /// Its name among its siblings.
    pub id: String,
    /// When it is started again.
    pub restart: Restart,
    /// How long it may take to stop before it is given up.
    pub shutdown: Duration,
    /// Starts a fresh actor on whatever arbiter is its place. The actor keeps the lifeline.
    pub start: Box<dyn FnMut(Lifeline)>,
}

/// Kept by a running actor: tells its supervisor that it is up, and, when dropped for whatever reason, that it is gone.
#[derive(Debug)]
pub struct Lifeline {
    parent: Option<Recipient<ChildEvent>>,
    index: usize,
    generation: u64,
    /// Until the actor exists, losing the lifeline means that it could not be started.
    reason: ExitReason,
}

impl Lifeline {
    pub(crate) fn new(parent: Recipient<ChildEvent>, index: usize, generation: u64) -> Self {
        Self {
            parent: Some(parent),
            index,
            generation,
            reason: ExitReason::Failed("its thread is gone".to_owned()),
        }
    }

    /// A lifeline that nobody holds, for the root and for tests.
    pub fn detached() -> Self {
        Self {
            parent: None,
            index: 0,
            generation: 0,
            reason: ExitReason::Normal,
        }
    }

    /// How often this child was started before.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Reports that the actor exists, and how to stop it.
    pub fn spawned(&mut self, stop: Recipient<Stop>) {
        self.reason = ExitReason::Normal;
        self.report(News::Spawned(stop));
    }

    /// Reports that the actor is ready; its younger siblings are started then.
    pub fn started(&self) {
        self.report(News::Started);
    }

    /// Says why the actor is about to end.
    pub fn fail(&mut self, reason: String) {
        self.reason = ExitReason::Failed(reason);
    }

    fn report(&self, news: News) {
        if let Some(parent) = &self.parent {
            let (index, generation) = (self.index, self.generation);
            control(
                parent,
                ChildEvent {
                    index,
                    generation,
                    news,
                },
            );
        }
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        let reason = match std::thread::panicking() {
            true => ExitReason::Panicked,
            false => std::mem::replace(&mut self.reason, ExitReason::Normal),
        };
        self.report(News::Exited(reason));
    }
}
