//! Children that are added to a supervisor and removed from it while it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::prelude::{Addr, AsyncContext, Context, Handler, Message};
use tokio::sync::oneshot;

use super::child::{ChildSpec, ExitReason, Stop, answer};
use super::children::{Child, ChildState};
use super::strategy;
use super::supervisor::{Phase, Supervisor};
use crate::actor_status::ActorState;
use crate::mailbox::control;

/// Where a running supervisor is found.
#[derive(Clone, Debug, Default)]
// Shared and locked: set by the supervisor when it starts, read by whoever reloads.
pub struct SupervisorPlace(Arc<Mutex<Option<Addr<Supervisor>>>>);

/// Starts a child more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AddChild {
    /// Called where the supervisor lives, since specs need not be sent between threads.
    spec: Box<dyn FnOnce() -> ChildSpec + Send>,
    on_start: oneshot::Sender<Result<(), String>>,
}

/// Stops a child for good.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RemoveChild {
    id: String,
    how: Stop,
    on_removal: oneshot::Sender<()>,
}

/// Children are about to come and go, or have: in between it means nothing that the last significant one has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum Change {
    Begin,
    End,
}

impl SupervisorPlace {
    /// Has a child started, and waits until it is up.
    ///
    /// # Errors
    /// Why it is not: it is removed then. One that fails later is started again by its spec.
    pub async fn add(
        &self,
        spec: impl FnOnce() -> ChildSpec + Send + 'static,
    ) -> Result<(), String> {
        let (on_start, started) = oneshot::channel();
        self.send(AddChild {
            spec: Box::new(spec),
            on_start,
        });
        started
            .await
            .unwrap_or_else(|_| Err("its supervisor is gone".to_owned()))
    }

    /// Has a child stopped, and waits until it is gone. Nothing happens if there is none of that name.
    pub async fn remove(&self, id: &str, how: Stop) {
        let (on_removal, removed) = oneshot::channel();
        self.send(RemoveChild {
            id: id.to_owned(),
            how,
            on_removal,
        });
        if removed.await.is_err() {
            tracing::debug!(id, "its supervisor is gone");
        }
    }

    /// Says that children are about to come and go: until [`SupervisorPlace::settle`] the supervisor does not end because
    /// its last significant child has.
    pub fn unsettle(&self) {
        self.send(Change::Begin);
    }

    /// Says that no more children come and go: a supervisor that has no significant child left ends.
    pub fn settle(&self) {
        self.send(Change::End);
    }

    pub(super) fn set(&self, supervisor: Addr<Supervisor>) {
        *self.lock() = Some(supervisor);
    }

    fn send<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Supervisor: Handler<M>,
    {
        let supervisor = self.lock().clone();
        if let Some(supervisor) = supervisor {
            control(&supervisor.recipient(), message);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Addr<Supervisor>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Supervisor {
    /// Whether the child that has just ended, or was given up, is not to be started again because it is removed, or because
    /// it was added and has never been up.
    pub(super) fn is_removed(&mut self, index: usize, reason: &ExitReason) -> bool {
        let child = &mut self.children[index];
        let has_failed = child.on_start.is_some();
        answer(child.on_start.take(), Err(reason.to_string()));
        if !has_failed && child.on_removal.is_empty() {
            return false;
        }
        child.remove();
        true
    }

    /// Ends if it has no significant child left, unless others are about to come.
    pub(super) fn end_if_bereft(&mut self, ctx: &mut Context<Self>) {
        let members = self.children.members(|_| false);
        if !self.is_changing
            && self.phase == Phase::Running
            && strategy::is_bereft(self.auto_shutdown, &members)
        {
            self.shut_down(ctx);
        }
    }
}

impl Handler<AddChild> for Supervisor {
    type Result = ();

    fn handle(&mut self, add: AddChild, ctx: &mut Context<Self>) {
        let AddChild { spec, on_start } = add;
        if self.phase == Phase::Stopping {
            return answer(Some(on_start), Err("its supervisor stops".to_owned()));
        }
        let spec = spec();
        if self.children.find(&spec.id).is_some() {
            let why = format!("there is a child called `{}` already", spec.id);
            return answer(Some(on_start), Err(why));
        }
        let mut child = Child::new(spec, self.lifeline.status(), &self.registry);
        child.on_start = Some(on_start);
        let index = self.children.add(child);
        self.start(index, ctx);
    }
}

impl Handler<RemoveChild> for Supervisor {
    type Result = ();

    fn handle(&mut self, remove: RemoveChild, ctx: &mut Context<Self>) {
        let RemoveChild {
            id,
            how,
            on_removal,
        } = remove;
        let Some(index) = self.children.find(&id) else {
            return answer(Some(on_removal), ());
        };
        let child = &mut self.children[index];
        child.on_removal.push(on_removal);
        if child.is_alive() {
            return self.tell(index, how, ctx);
        }
        if let ChildState::BackingOff(timer) = child.state {
            ctx.cancel_future(timer);
        }
        child.status.set(ActorState::Stopped);
        child.remove();
        self.end_if_bereft(ctx);
        self.settled(index, ctx);
    }
}

impl Handler<Change> for Supervisor {
    type Result = ();

    fn handle(&mut self, change: Change, ctx: &mut Context<Self>) {
        self.is_changing = matches!(change, Change::Begin);
        self.end_if_bereft(ctx);
    }
}
