//! Whether events for one sink go to it, or through its overflow log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::prelude::Recipient;

use crate::mailbox::{self, Credits, Inlet};
use crate::shipment::Shipment;

/// A sink is stuck if it takes nothing from a sender that is full, for so long.
pub(crate) const STUCK_AFTER_MIN: Duration = Duration::from_millis(50);
/// A sink is slow if a sender is full so long after it first was, and has not been empty since. That a busy machine lets a sink
/// wait for a moment does not make it slow: to store and read back would only make the machine busier.
pub(crate) const SLOW_AFTER_MIN: Duration = Duration::from_millis(250);

/// Sent to the actor of the overflow log: a sender is full, and whoever waits is to look again after [`STUCK_AFTER_MIN`].
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Congested;

/// Shared by all who send to one sink, and the actor of its overflow log. While the log is not empty, everything for the sink
/// goes through it, in order.
#[derive(Debug)]
pub struct Spillway {
    sink: Arc<str>,
    /// Where the overflow log takes events in.
    pub(crate) overflow: Arc<Inlet>,
    // Shared and locked: senders are on several threads, and each sends under the lock, so that no event overtakes another.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) is_spilling: bool,
    /// The log has events that nothing else keeps, because they came with durable ones: further ones have to follow them.
    pub(crate) has_plain: bool,
    /// What the sink had not settled when it began: stored first, so that a crash keeps the order.
    shadows: Vec<Arc<Shipment>>,
    /// Senders that have gathered events for the sink, and wait for it as long as nothing goes through the log.
    waiting: Vec<Arc<Credits>>,
    /// Tells those who wait to look again.
    watcher: Option<Recipient<Congested>>,
    /// It was told to.
    is_watched: bool,
}

impl State {
    /// Everything goes through the log from now on; the sink has `unsettled` in its window.
    pub(crate) fn begin(&mut self, unsettled: Vec<Arc<Shipment>>) {
        self.is_spilling = true;
        self.shadows = unsettled;
        self.wake_waiting();
    }

    /// Has whoever waits look again: it finds the lock free once this state's is given back.
    fn wake_waiting(&mut self) {
        self.waiting.drain(..).for_each(|sender| sender.wake());
    }

    /// Has the sender told when its events may go through the log.
    pub(crate) fn wait(&mut self, sender: &Arc<Credits>) {
        // Without those that are gone: only the list knows them.
        self.waiting
            .retain(|known| Arc::strong_count(known) > 1 && !Arc::ptr_eq(known, sender));
        self.waiting.push(Arc::clone(sender));
    }

    /// As [`State::wait`], and has the sender look again in a moment; false if there is nobody who would tell it.
    pub(crate) fn wait_for_a_moment(&mut self, sender: &Arc<Credits>) -> bool {
        let Some(watcher) = &self.watcher else {
            return false;
        };
        if !std::mem::replace(&mut self.is_watched, true) {
            mailbox::control(watcher, Congested);
        }
        self.wait(sender);
        true
    }
}

impl Spillway {
    /// A spillway of the sink to what listens at `overflow`.
    pub fn new(sink: &str, overflow: Arc<Inlet>) -> Arc<Self> {
        Arc::new(Self {
            sink: sink.into(),
            overflow,
            state: Mutex::default(),
        })
    }

    pub(crate) fn sink(&self) -> &str {
        &self.sink
    }

    /// Everything goes through the log from now on.
    pub(crate) fn begin(&self) {
        self.lock().begin(Vec::new());
    }

    /// Everything goes through the log from now on, since the sink behind `target` stands still.
    pub(crate) fn begin_for(&self, target: &Inlet) {
        let mut state = self.lock();
        if state.is_spilling {
            return;
        }
        tracing::info!(
            sink = &*self.sink,
            "the sink stands still, its events go through its overflow log"
        );
        state.begin(target.window());
    }

    /// Whom to tell that a sender is full.
    pub(crate) fn set_watcher(&self, watcher: Recipient<Congested>) {
        let mut state = self.lock();
        state.watcher = Some(watcher);
        state.is_watched = false;
    }

    /// Has whoever waits look again.
    pub(crate) fn look_again(&self) {
        let mut state = self.lock();
        state.is_watched = false;
        state.wake_waiting();
    }

    /// What is to be stored before anything else.
    pub(crate) fn take_shadows(&self) -> Vec<Arc<Shipment>> {
        std::mem::take(&mut self.lock().shadows)
    }

    /// Everything goes to the sink from now on, unless there is something on its way into the log.
    pub(crate) fn end(&self) -> bool {
        let mut state = self.lock();
        // Whoever sends there has the lock meanwhile.
        if !state.is_spilling || self.overflow.unsettled() > 0 {
            return false;
        }
        state.is_spilling = false;
        state.has_plain = false;
        true
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use actix::prelude::{Actor, Context, Handler};
    use actix_rt::System;
    use tokio::sync::mpsc;

    use super::*;
    use crate::batch::EventBatch;
    use crate::mailbox::OutletReady;
    use crate::stats::Registry;

    /// Notes the outlets that it is told of.
    struct Owner(mpsc::Sender<usize>);

    impl Actor for Owner {
        type Context = Context<Self>;
    }

    impl Handler<OutletReady> for Owner {
        type Result = ();

        fn handle(&mut self, ready: OutletReady, _: &mut Context<Self>) {
            self.0.try_send(ready.outlet).expect("a waiting test");
        }
    }

    #[test]
    fn whoever_waits_is_told_once_and_who_is_gone_is_not_kept() {
        System::new().block_on(async {
            let (sender, mut told) = mpsc::channel(8);
            let owner = Owner(sender).start().recipient();
            let registry = Arc::new(Registry::default());
            let [first, second, gone] =
                [1, 2, 3].map(|outlet| Credits::new(owner.clone(), outlet, registry.clone()));
            let spillway = Spillway::new("slow", Inlet::new());
            for sender in [&first, &gone, &second, &first] {
                spillway.lock().wait(sender);
            }
            assert_eq!(spillway.lock().waiting.len(), 3);
            drop(gone);
            spillway.lock().wait(&second);
            assert_eq!(spillway.lock().waiting.len(), 2);
            spillway.begin_for(&Inlet::new());
            assert_eq!((told.recv().await, told.recv().await), (Some(1), Some(2)));
            assert!(spillway.lock().is_spilling && spillway.lock().waiting.is_empty());
        });
    }

    #[test]
    fn it_begins_with_what_the_sink_has_and_ends_when_nothing_is_on_its_way() {
        let batch = || Arc::new(Shipment::new(EventBatch::default(), Vec::new()));
        let (target, spillway) = (Inlet::new(), Spillway::new("slow", Inlet::new()));
        assert_eq!(spillway.sink(), "slow");
        assert!(!spillway.end());
        target.take_in(batch(), None);
        spillway.begin_for(&target);
        // It has begun.
        target.take_in(batch(), None);
        spillway.begin_for(&target);
        assert_eq!(spillway.take_shadows().len(), 1);
        assert!(spillway.take_shadows().is_empty());
        spillway.overflow.take_in(batch(), None);
        assert!(!spillway.end() && spillway.lock().is_spilling);
        drop(spillway.overflow.close());
        assert!(spillway.end() && !spillway.lock().is_spilling);
        spillway.begin();
        assert!(spillway.lock().is_spilling && spillway.take_shadows().is_empty());
    }
}
