//! What is known of each actor of the tree: its state, generation, restarts and last failure.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use dashmap::DashMap;

use crate::counters::Counter;
use crate::mailbox::{Backlog, Inlet};

/// What an actor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorState {
    /// Not started, ended for good, or ended and not started again yet because a sibling has to be first.
    Stopped,
    /// Started and not ready.
    Starting,
    /// Ready.
    Running,
    /// It failed, and is started again after a wait.
    BackingOff,
    /// It is well, and waits with its events because too many of them fail, or its receiver takes none.
    Paused,
    /// A call of it takes longer than it may, or it did not stop when it was told to.
    Hung,
}

impl ActorState {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Stopped,
        Self::Starting,
        Self::Running,
        Self::BackingOff,
        Self::Paused,
        Self::Hung,
    ];

    /// Whether the process is worse off while an actor is in it.
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::BackingOff | Self::Paused | Self::Hung)
    }

    /// Its name in answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff => "backing_off",
            Self::Paused => "paused",
            Self::Hung => "hung",
        }
    }
}

/// Why an actor ended last, other than by being told to, why it was paused, or why a delivery of a sink was put off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// What it said, or what was seen of it.
    pub reason: String,
    /// When that was heard of.
    pub at: SystemTime,
}

/// One actor of the tree, whatever its generation. Written by its supervisor, and by who pauses it or finds it hung; read by
/// the admin server: hence atomics and a lock.
#[derive(Debug)]
pub struct ActorStatus {
    path: Arc<str>,
    /// Its place in the order in which actors were made known.
    order: u64,
    state: AtomicU8,
    generation: AtomicU64,
    /// How often it was started again after a failure of its own.
    pub restarts: Counter,
    last_failure: Mutex<Option<LastFailure>>,
    /// The same one for all generations.
    inlet: OnceLock<Arc<Inlet>>,
}

impl ActorStatus {
    fn new(path: Arc<str>, order: u64) -> Self {
        Self {
            path,
            order,
            state: AtomicU8::new(0),
            generation: AtomicU64::new(0),
            restarts: Counter::default(),
            last_failure: Mutex::new(None),
            inlet: OnceLock::new(),
        }
    }

    /// The status of an actor that is not part of the tree.
    pub(crate) fn detached() -> Arc<Self> {
        Arc::new(Self::new("".into(), 0))
    }

    /// Where it is in the tree: `sinks/ledger`, `handlers/price-order/0`. Empty for the root, and for actors without
    /// a supervisor.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// What it is doing.
    pub fn state(&self) -> ActorState {
        ActorState::ALL[usize::from(self.state.load(Ordering::Acquire))]
    }

    /// Says what it is doing.
    pub fn set(&self, state: ActorState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Says what it is doing if it was doing `from`: for those who are not its supervisor, which may have gone on. False if
    /// it was not.
    pub fn change(&self, from: ActorState, to: ActorState) -> bool {
        self.state
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// How often it was started, whether by itself or with siblings; 0 before the first start.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Counts a start, and gives the generation that it has from now on.
    pub(crate) fn start(&self) -> u64 {
        self.set(ActorState::Starting);
        self.generation.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// What has befallen it last.
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.lock().clone()
    }

    pub(crate) fn failed(&self, reason: String) {
        let at = SystemTime::now();
        *self.lock() = Some(LastFailure { reason, at });
    }

    /// Says where its batches go in.
    pub(crate) fn receives_at(&self, inlet: &Arc<Inlet>) {
        self.inlet.get_or_init(|| Arc::clone(inlet));
    }

    /// What waits at its inlet; `None` if batches do not come to it, or it was never started.
    pub fn backlog(&self) -> Option<Backlog> {
        self.inlet.get().map(|inlet| inlet.backlog())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<LastFailure>> {
        self.last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// All actors of the tree by path. Supervisors enter their children; as many as the config names.
#[derive(Debug, Default)]
pub struct ActorStatuses {
    by_path: DashMap<Arc<str>, Arc<ActorStatus>>,
    known: AtomicU64,
}

impl ActorStatuses {
    /// The actor's status, new at the first call.
    pub fn of(&self, path: &str) -> Arc<ActorStatus> {
        let path: Arc<str> = path.into();
        let new = || {
            let order = self.known.fetch_add(1, Ordering::Relaxed);
            Arc::new(ActorStatus::new(path.clone(), order))
        };
        self.by_path.entry(path.clone()).or_insert_with(new).clone()
    }

    /// Forgets the actor, and all below it.
    pub fn forget(&self, path: &str) {
        self.by_path.retain(|known, _| {
            let below = known.strip_prefix(path);
            !below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    }

    /// All of them, elder siblings before younger ones, parents before their children.
    pub fn all(&self) -> Vec<Arc<ActorStatus>> {
        let mut all: Vec<_> = self.by_path.iter().map(|entry| entry.clone()).collect();
        all.sort_by_key(|status| status.order);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_is_not_its_supervisor_changes_only_what_it_knows_of() {
        let statuses = ActorStatuses::default();
        let lane = statuses.of("handlers/price/0");
        assert_eq!(lane.start(), 1);
        assert!(!lane.change(ActorState::Running, ActorState::Paused));
        lane.set(ActorState::Running);
        assert!(lane.change(ActorState::Running, ActorState::Paused));
        assert_eq!(statuses.of("handlers/price/0").state().name(), "paused");
    }

    #[test]
    fn actors_are_listed_in_the_order_in_which_they_were_made_known() {
        let statuses = ActorStatuses::default();
        for path in ["sinks", "router", "sinks/b", "sinks/a"] {
            statuses.of(path);
        }
        let paths: Vec<_> = statuses.all().iter().map(|s| s.path().clone()).collect();
        assert_eq!(
            paths,
            ["sinks", "router", "sinks/b", "sinks/a"].map(Arc::from)
        );
    }
}
