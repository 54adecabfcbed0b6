//! The children of one supervisor: their specs, and what each is doing.

use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{Recipient, SpawnHandle};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::child::{ChildSpec, Restart, Stop, answer};
use super::strategy::{AutoShutdown, Member, Presence};
use crate::actor_status::{ActorState, ActorStatus};
use crate::mailbox::control;
use crate::stats::Registry;

/// All children, in the order in which they are started.
pub(super) struct Children(Vec<Child>);

pub(super) struct Child {
    pub(super) spec: ChildSpec,
    pub(super) status: Arc<ActorStatus>,
    pub(super) generation: u64,
    /// Which of all its supervisor's starts was its last. What is heard of others is ignored: the place may have been
    /// another's.
    pub(super) incarnation: u64,
    /// Failures in a row, none of them after a whole period of good behaviour.
    pub(super) failures: u32,
    pub(super) state: ChildState,
    up_since: Option<Instant>,
    /// How it was told to stop, or will be as soon as it exists.
    told: Option<Stop>,
    /// It was added to a running supervisor, which is to say how its first start goes.
    pub(super) on_start: Option<oneshot::Sender<Result<(), String>>>,
    /// It is not to be started again, and its end is waited for.
    pub(super) on_removal: Vec<oneshot::Sender<()>>,
}

pub(super) enum ChildState {
    /// Not started, or ended.
    Down,
    /// Started and not ready; it can be stopped once it exists.
    Starting(Option<Recipient<Stop>>),
    Up(Recipient<Stop>),
    /// It is started again by this timer, whatever its siblings do.
    BackingOff(SpawnHandle),
    /// Temporary and ended, or removed: never started again. Its place may be given away.
    Removed,
}

impl Children {
    pub(super) fn new(
        specs: Vec<ChildSpec>,
        parent: &ActorStatus,
        registry: &Arc<Registry>,
    ) -> Self {
        let child = |spec| Child::new(spec, parent, registry);
        Self(specs.into_iter().map(child).collect())
    }

    /// Adds one where one was removed or else at the end, and gives its number.
    pub(super) fn add(&mut self, child: Child) -> usize {
        let is_free = |child: &Child| matches!(child.state, ChildState::Removed);
        if let Some(index) = self.0.iter().position(is_free) {
            self.0[index] = child;
            return index;
        }
        self.0.push(child);
        self.0.len() - 1
    }

    /// The number of the child of that name that is neither removed nor about to be.
    pub(super) fn find(&self, id: &str) -> Option<usize> {
        let is_it =
            |child: &Child| child.spec.id == id && !matches!(child.state, ChildState::Removed);
        self.0.iter().position(is_it)
    }

    /// Why these children cannot be supervised, by OTP's rules.
    pub(super) fn check(&self, auto_shutdown: AutoShutdown) -> Result<(), String> {
        for (index, child) in self.0.iter().enumerate() {
            let ChildSpec {
                id,
                restart,
                is_significant,
                ..
            } = &child.spec;
            if self.0[..index].iter().any(|elder| elder.spec.id == *id) {
                return Err(format!("two children are called `{id}`"));
            }
            if *is_significant && *restart == Restart::Permanent {
                return Err(format!("`{id}` is permanent, so it cannot be significant"));
            }
            if *is_significant && auto_shutdown == AutoShutdown::Never {
                return Err(format!("`{id}` is significant to no purpose"));
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Child> {
        self.0.iter_mut()
    }

    /// What decisions need to know, given whether a child is about to be started.
    pub(super) fn members(&self, is_expected: impl Fn(usize) -> bool) -> Vec<Member> {
        let presence = |index: usize, child: &Child| match child.state {
            ChildState::Removed => Presence::Removed,
            ChildState::Down if is_expected(index) => Presence::Expected,
            ChildState::Down => Presence::Ended,
            ChildState::Starting(_) | ChildState::Up(_) | ChildState::BackingOff(_) => {
                Presence::Alive
            }
        };
        let member = |(index, child): (usize, &Child)| Member {
            restart: child.spec.restart,
            is_significant: child.spec.is_significant,
            presence: presence(index, child),
        };
        self.0.iter().enumerate().map(member).collect()
    }
}

impl Index<usize> for Children {
    type Output = Child;

    fn index(&self, index: usize) -> &Child {
        &self.0[index]
    }
}

impl IndexMut<usize> for Children {
    fn index_mut(&mut self, index: usize) -> &mut Child {
        &mut self.0[index]
    }
}

impl Child {
    pub(super) fn new(spec: ChildSpec, parent: &ActorStatus, registry: &Registry) -> Self {
        let path = match parent.path().is_empty() {
            true => spec.id.clone(),
            false => format!("{}/{}", parent.path(), spec.id),
        };
        let status = registry.actors.of(&path);
        status.set(ActorState::Stopped);
        Self {
            status,
            spec,
            generation: 0,
            incarnation: 0,
            failures: 0,
            state: ChildState::Down,
            up_since: None,
            told: None,
            on_start: None,
            on_removal: Vec::new(),
        }
    }

    pub(super) fn path(&self) -> &str {
        self.status.path()
    }

    pub(super) fn is_alive(&self) -> bool {
        matches!(self.state, ChildState::Starting(_) | ChildState::Up(_))
    }

    /// Begins its next generation.
    pub(super) fn begin(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
        self.generation = self.status.start();
        self.state = ChildState::Starting(None);
        self.told = None;
        self.up_since = None;
    }

    /// It exists.
    pub(super) fn spawned(&mut self, stop: Recipient<Stop>) {
        if let ChildState::Starting(_) = self.state {
            if let Some(how) = self.told {
                control(&stop, how);
            }
            self.state = ChildState::Starting(Some(stop));
        }
    }

    /// It is ready. False if it was so before, or has ended meanwhile.
    pub(super) fn up(&mut self) -> bool {
        let ChildState::Starting(Some(stop)) = &self.state else {
            return false;
        };
        self.state = ChildState::Up(stop.clone());
        self.status.set(ActorState::Running);
        self.up_since = Some(Instant::now());
        true
    }

    /// It has ended, or is given up.
    pub(super) fn down(&mut self, state: ActorState) {
        self.state = match self.spec.restart {
            Restart::Temporary => ChildState::Removed,
            Restart::Permanent | Restart::Transient => ChildState::Down,
        };
        self.status.set(state);
    }

    /// Counts its end as a failure and gives the number in a row. One that was up for a whole `period` starts over.
    pub(super) fn count_failure(&mut self, period: Duration) -> u32 {
        let was_well = self.up_since.take().is_some_and(|up| up.elapsed() > period);
        self.failures = if was_well { 1 } else { self.failures + 1 };
        self.failures
    }

    /// Tells it to stop; one that drains can still be told to hand over. False if it was told before, or is not there.
    pub(super) fn tell(&mut self, how: Stop) -> bool {
        let before = self.told;
        if !self.is_alive() || before == Some(how) || before == Some(Stop::HandOver) {
            return false;
        }
        self.told = Some(how);
        if let ChildState::Starting(Some(stop)) | ChildState::Up(stop) = &self.state {
            control(stop, how);
        }
        before.is_none()
    }

    /// It is gone for good: nothing of its spec is kept, and who waits for its end is told.
    pub(super) fn remove(&mut self) {
        self.state = ChildState::Removed;
        self.spec.start = Box::new(|_| ());
        for waiting in self.on_removal.drain(..) {
            answer(Some(waiting), ());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_that_come_and_go_leave_nothing_behind() {
        let registry = Arc::new(Registry::default());
        let root = ActorStatus::detached();
        let child = |id: &str| {
            let spec = ChildSpec {
                id: id.to_owned(),
                restart: Restart::Permanent,
                is_significant: false,
                shutdown: Duration::ZERO,
                start: Box::new(|_| ()),
            };
            Child::new(spec, &root, &registry)
        };
        let mut children = Children::new(Vec::new(), &root, &registry);
        for id in ["a", "b", "c"] {
            children.add(child(id));
        }
        for id in ["d", "e", "f"] {
            let b = children.find("b").expect("it was added");
            children[b].remove();
            assert_eq!(children.add(child(id)), b);
            children[b].remove();
            assert_eq!((children.add(child("b")), children.len()), (b, 3));
        }
        assert_eq!(children.find("d"), None);
    }
}
