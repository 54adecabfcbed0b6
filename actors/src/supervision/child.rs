//! What a supervisor and a child know of each other: the spec, the lifeline, and the messages between them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{Message, Recipient};
use tokio::sync::oneshot;

use crate::actor_status::ActorStatus;
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

/// Asks an actor to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Stop {
    /// Once everything that was sent to it is finished.
    Drain,
    /// Once what it is at is finished: the rest is its successor's.
    HandOver,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// It was done, or was told to stop.
    Normal,
    /// It gave up with this error.
    Failed(String),
    /// It panicked.
    Panicked,
    /// It was lost without a word.
    Killed,
    /// A call of it took longer than it may, this long when it was seen. The actor may come back, and is not heard then.
    Hung(Duration),
    /// Its thread was taken from it, because a neighbour hung there: no failure of its own, so it is started again at
    /// once and costs nothing of the restart budget.
    Displaced,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("ended unexpectedly"),
            Self::Failed(error) => f.write_str(error),
            Self::Panicked => f.write_str("panicked"),
            Self::Killed => f.write_str("was lost"),
            Self::Hung(time) => write!(f, "hung for {time:?}"),
            Self::Displaced => f.write_str("lost its thread to a neighbour that hung"),
        }
    }
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
    pub(crate) incarnation: u64,
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
    /// Whether its end may end its supervisor (see `AutoShutdown`), if it is not started again.
    pub is_significant: bool,
    /// How long it may take to stop before it is given up; `Duration::MAX` for a supervisor, whose children's deadlines
    /// bound it.
    pub shutdown: Duration,
    /// Starts a fresh actor on whatever arbiter is its place. The actor keeps the lifeline.
    pub start: Box<dyn FnMut(Lifeline)>,
}

/// Kept by a running actor: tells its supervisor that it is up, and, when dropped for whatever reason, that it is gone.
#[derive(Debug)]
pub struct Lifeline {
    holder: Holder,
    status: Arc<ActorStatus>,
    /// Until the actor exists, losing the lifeline means that it could not be started.
    reason: ExitReason,
}

#[derive(Debug)]
enum Holder {
    Supervisor(ChildHandle),
    /// The process itself holds the root.
    Process {
        started: Option<oneshot::Sender<()>>,
        done: Option<oneshot::Sender<()>>,
        exited: Option<oneshot::Sender<ExitReason>>,
    },
    /// A connection's actor, whose end harms nobody.
    Nobody,
}

/// Reports the end of an actor that cannot report it itself, from any thread. It stands for one generation of the actor:
/// what is reported of one that was replaced already, or twice, is ignored.
#[derive(Clone, Debug)]
pub struct ChildHandle {
    events: Recipient<ChildEvent>,
    index: usize,
    incarnation: u64,
}

impl ChildHandle {
    /// Tells the supervisor that the actor has ended, whatever it may still be doing.
    pub fn report(&self, reason: ExitReason) {
        self.send(News::Exited(reason));
    }

    fn send(&self, news: News) {
        let event = ChildEvent {
            index: self.index,
            incarnation: self.incarnation,
            news,
        };
        control(&self.events, event);
    }
}

/// What the process hears of its root.
#[derive(Debug)]
pub struct RootWatch {
    /// Resolves when the whole tree is up.
    pub started: oneshot::Receiver<()>,
    /// Resolves when the root begins to stop because its significant children are done.
    pub done: oneshot::Receiver<()>,
    /// Resolves when the root has ended.
    pub exited: oneshot::Receiver<ExitReason>,
}

impl Lifeline {
    pub(crate) fn new(
        events: Recipient<ChildEvent>,
        index: usize,
        incarnation: u64,
        status: Arc<ActorStatus>,
    ) -> Self {
        let handle = ChildHandle {
            events,
            index,
            incarnation,
        };
        Self {
            holder: Holder::Supervisor(handle),
            status,
            reason: ExitReason::Failed("its thread is gone".to_owned()),
        }
    }

    /// The lifeline of a tree's root, and what is heard by it.
    pub fn root() -> (Self, RootWatch) {
        let (started, watch_started) = oneshot::channel();
        let (done, watch_done) = oneshot::channel();
        let (exited, watch_exited) = oneshot::channel();
        let lifeline = Self {
            holder: Holder::Process {
                started: Some(started),
                done: Some(done),
                exited: Some(exited),
            },
            status: ActorStatus::detached(),
            reason: ExitReason::Normal,
        };
        let watch = RootWatch {
            started: watch_started,
            done: watch_done,
            exited: watch_exited,
        };
        (lifeline, watch)
    }

    pub(crate) fn detached() -> Self {
        Self {
            holder: Holder::Nobody,
            status: ActorStatus::detached(),
            reason: ExitReason::Normal,
        }
    }

    /// What the outside sees of the actor, the same for all of its generations.
    pub fn status(&self) -> &Arc<ActorStatus> {
        &self.status
    }

    /// By which others report the end of this generation of the actor; `None` if it has no supervisor.
    pub fn handle(&self) -> Option<ChildHandle> {
        match &self.holder {
            Holder::Supervisor(handle) => Some(handle.clone()),
            Holder::Process { .. } | Holder::Nobody => None,
        }
    }

    /// Reports that the actor exists, and how to stop it.
    pub fn spawned(&mut self, stop: Recipient<Stop>) {
        self.reason = ExitReason::Normal;
        self.report(News::Spawned(stop));
    }

    /// Reports that the actor is ready; its younger siblings are started then.
    pub fn started(&mut self) {
        self.report(News::Started);
    }

    /// Says that the actor begins to stop by itself because all is done; only the process wants to know.
    pub(crate) fn done(&mut self) {
        if let Holder::Process { done, .. } = &mut self.holder {
            answer(done.take(), ());
        }
    }

    /// Says why the actor is about to end.
    pub fn fail(&mut self, reason: String) {
        self.end(ExitReason::Failed(reason));
    }

    /// Says how the actor is about to end.
    pub fn end(&mut self, reason: ExitReason) {
        self.reason = reason;
    }

    fn report(&mut self, news: News) {
        match (&mut self.holder, news) {
            (Holder::Supervisor(handle), news) => handle.send(news),
            (Holder::Process { started, .. }, News::Started) => answer(started.take(), ()),
            (Holder::Process { exited, .. }, News::Exited(reason)) => answer(exited.take(), reason),
            (Holder::Process { .. }, News::Spawned(_)) | (Holder::Nobody, _) => {}
        }
    }
}

/// Answers whoever waits, if somebody does.
pub(super) fn answer<T>(sender: Option<oneshot::Sender<T>>, value: T) {
    if sender.is_some_and(|sender| sender.send(value).is_err()) {
        tracing::debug!("nobody waits for the answer any more");
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
