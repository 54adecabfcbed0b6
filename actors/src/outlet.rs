//! One sender's way to one inlet: gathers events until there is credit to send them.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::Recipient;
use tokio::time::Instant;

use crate::batch::{Arena, BATCH_EVENTS_MAX, EventBatch};
use crate::dead_letter::Failure;
use crate::event::EventRecord;
use crate::lane_spec::Target;
use crate::mailbox::{Credits, Custody, Inlet, OutletReady};
use crate::origin::Origin;
use crate::shipment::Shipment;
use crate::sink_stats::SinkStats;
use crate::spillway::{SLOW_AFTER_MIN, STUCK_AFTER_MIN, Spillway, State};
use crate::stats::Registry;

/// Batches that a sender gathers for a sink with an overflow log before it is full.
const SPILLED_BATCHES_MIN: usize = 4;

/// One sender's way to one inlet: gathers events and sends them whenever it has credit.
#[derive(Debug)]
pub struct Outlet {
    inlet: Arc<Inlet>,
    credits: Arc<Credits>,
    parcels: VecDeque<Parcel>,
    /// Events of the last batch: the next one is made with room for as many.
    usual_events: usize,
    /// The ledger of the sink behind the inlet, if it is one.
    offered_to: Option<Arc<SinkStats>>,
    /// The way through the sink's overflow log, if it has one.
    spillway: Option<Arc<Spillway>>,
    /// The account with the overflow log.
    spill_credits: Arc<Credits>,
    /// Set while it has been full and not empty since.
    congestion: Option<Congestion>,
}

#[derive(Debug)]
struct Congestion {
    /// When it was first full.
    since: Instant,
    /// Since when it has been full and sent nothing; unset by whatever is sent.
    full_since: Option<Instant>,
}

impl Congestion {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            full_since: None,
        }
    }

    /// It is full: what its sink is by now, if that cannot be the machine's doing.
    fn verdict(&mut self) -> Option<&'static str> {
        let full_since = *self.full_since.get_or_insert_with(Instant::now);
        if full_since.elapsed() >= STUCK_AFTER_MIN {
            return Some("stuck");
        }
        (self.since.elapsed() >= SLOW_AFTER_MIN).then_some("slow")
    }
}

/// Events gathered for one message.
#[derive(Debug, Default)]
struct Parcel {
    batch: EventBatch,
    failures: Vec<Failure>,
    /// Custody of the batches that the events came from: returned to their senders once this parcel is sent.
    taken_from: Vec<Arc<Custody>>,
}

impl Outlet {
    /// An outlet that its owner knows as number `outlet` and hears of by [`OutletReady`].
    pub fn new(
        inlet: Arc<Inlet>,
        owner: Recipient<OutletReady>,
        outlet: usize,
        registry: &Arc<Registry>,
        offered_to: Option<Arc<SinkStats>>,
    ) -> Self {
        Self {
            inlet,
            credits: Credits::new(owner.clone(), outlet, Arc::clone(registry)),
            parcels: VecDeque::new(),
            usual_events: 1,
            offered_to,
            spillway: None,
            spill_credits: Credits::new(owner, outlet, Arc::clone(registry)),
            congestion: None,
        }
    }

    /// An outlet to a target, as [`Outlet::new`].
    pub(crate) fn to(
        target: &Target,
        owner: Recipient<OutletReady>,
        outlet: usize,
        registry: &Arc<Registry>,
    ) -> Self {
        let (inlet, sink) = (target.inlet.clone(), target.sink.clone());
        let mut new = Self::new(inlet, owner, outlet, registry, sink);
        new.spillway = target.spillway.clone();
        new
    }

    /// Gives the outlet to another owner, which then has what is gathered.
    pub(crate) fn readdress(&self, owner: Recipient<OutletReady>) {
        self.credits.readdress(owner.clone());
        self.spill_credits.readdress(owner);
    }

    /// Adds one event to what is gathered. If a whole batch is waiting already, `taken_from` is held until the event is
    /// sent, so that its sender waits as well.
    pub(crate) fn push(
        &mut self,
        record: EventRecord,
        arena: &Arc<Arena>,
        origin: &Arc<Origin>,
        taken_from: Option<&Arc<Custody>>,
    ) {
        let is_congested = !self.has_room();
        let parcel = self.parcel_for(record.line_bytes());
        parcel.batch.push(record, arena, origin);
        if let Some(custody) = taken_from
            && is_congested
            && !parcel
                .taken_from
                .last()
                .is_some_and(|last| Arc::ptr_eq(last, custody))
        {
            parcel.taken_from.push(Arc::clone(custody));
        }
    }

    /// As [`Outlet::push`], for one failed event on its way to the dead letters.
    pub(crate) fn push_failed(
        &mut self,
        record: EventRecord,
        arena: &Arc<Arena>,
        origin: &Arc<Origin>,
        failure: Failure,
        taken_from: Option<&Arc<Custody>>,
    ) {
        self.push(record, arena, origin, taken_from);
        let parcel = self.parcels.back_mut();
        let parcel = parcel.expect("the event was just added to it");
        parcel.failures.push(failure);
    }

    /// Adds a whole batch.
    pub(crate) fn append(&mut self, batch: EventBatch) {
        match self.parcels.back_mut() {
            Some(last)
                if last.batch.len() + batch.len() <= BATCH_EVENTS_MAX
                    && !last.batch.is_full_for(batch.bytes()) =>
            {
                last.batch.append(&batch);
            }
            _ => self.parcels.push_back(Parcel {
                batch,
                ..Parcel::default()
            }),
        }
    }

    /// Adds a whole batch that stays its sender's as well. Its custody is held as [`Outlet::push`] does.
    pub(crate) fn forward(&mut self, batch: &EventBatch, taken_from: Option<&Arc<Custody>>) {
        let is_congested = !self.has_room();
        self.append(batch.clone());
        if is_congested && let Some(last) = self.parcels.back_mut() {
            last.taken_from.extend(taken_from.cloned());
        }
    }

    /// Whether events can be added without exceeding one full batch, or as many as are gathered before they overflow.
    pub(crate) fn has_room(&self) -> bool {
        let batches_max = match self.spillway {
            Some(_) => SPILLED_BATCHES_MIN,
            None => 1,
        };
        match self.parcels.back() {
            Some(last) if self.parcels.len() == batches_max => !last.batch.is_full(),
            _ => self.parcels.len() < batches_max,
        }
    }

    /// Whether a batch is gathered to which nothing is added any more.
    fn has_full(&self) -> bool {
        match self.parcels.front() {
            Some(first) => self.parcels.len() > 1 || first.batch.is_full(),
            None => false,
        }
    }

    /// Events gathered and not sent.
    pub(crate) fn gathered(&self) -> usize {
        self.parcels.iter().map(|parcel| parcel.batch.len()).sum()
    }

    /// Whether nothing is gathered.
    pub(crate) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Whether what is added now can be sent at once; if not, the owner is told when it can be.
    pub(crate) fn is_clear(&self) -> bool {
        self.is_empty() && self.credits.are_left_or_wanted()
    }

    /// Sends what is gathered as far as credits go.
    pub(crate) fn flush(&mut self) {
        while !self.parcels.is_empty() && self.send_if_credited() {}
    }

    /// Sends full batches as far as credits go, and leaves the rest to be added to.
    pub(crate) fn flush_full(&mut self) {
        while self.has_full() && self.send_if_credited() {}
    }

    /// Sends the first parcel, unless it has to wait for a credit.
    fn send_if_credited(&mut self) -> bool {
        let Some(spillway) = self.spillway.clone() else {
            return self.credits.are_left_or_wanted() && self.send_first();
        };
        let mut state = spillway.lock();
        if !self.goes_through_log(&state) {
            if self.credits.are_left_or_wanted() {
                return self.send_first();
            }
            if self.has_room() || !self.is_durable() {
                state.wait(&self.credits);
                return false;
            }
            let congestion = self.congestion.get_or_insert_with(Congestion::new);
            let verdict = congestion.verdict();
            if verdict.is_none() && state.wait_for_a_moment(&self.credits) {
                return false;
            }
            tracing::info!(
                sink = spillway.sink(),
                verdict = verdict.unwrap_or("full"),
                "the sink is slow, its events go through its overflow log"
            );
            state.begin(self.inlet.window());
        }
        self.spill_credits.are_left_or_wanted() && self.spill_first(&spillway, &mut state)
    }

    /// What nothing keeps when the process dies waits for the sink itself, unless it would hold up what something keeps, or
    /// overtake its like in the log.
    fn goes_through_log(&self, state: &State) -> bool {
        state.is_spilling && (state.has_plain || self.is_durable())
    }

    /// Whether something keeps any of the events gathered when the process dies.
    fn is_durable(&self) -> bool {
        let batches = self.parcels.iter().map(|parcel| &parcel.batch);
        let mut origins = batches.flat_map(EventBatch::origins);
        origins.any(|origin| origin.is_durable())
    }

    fn parcel_for(&mut self, bytes: usize) -> &mut Parcel {
        let is_full = self
            .parcels
            .back()
            .is_none_or(|last| last.batch.is_full_for(bytes));
        if is_full {
            self.parcels.push_back(Parcel {
                batch: EventBatch::with_capacity(self.usual_events),
                ..Parcel::default()
            });
        }
        self.parcels.back_mut().expect("one was just made")
    }

    fn send_first(&mut self) -> bool {
        let custody = self.credits.take();
        let inlet = self.inlet.clone();
        self.send_to(&inlet, custody)
    }

    fn spill_first(&mut self, spillway: &Spillway, state: &mut State) -> bool {
        let first = self.parcels.front().into_iter();
        let mut origins = first.flat_map(|first| first.batch.origins());
        state.has_plain |= origins.any(|origin| !origin.is_durable());
        let custody = self.spill_credits.take();
        self.send_to(&spillway.overflow, custody)
    }

    fn send_to(&mut self, inlet: &Arc<Inlet>, custody: Custody) -> bool {
        let Some(parcel) = self.parcels.pop_front() else {
            return false;
        };
        if self.parcels.is_empty() {
            self.congestion = None;
        } else if let Some(congestion) = &mut self.congestion {
            congestion.full_since = None;
        }
        let events = parcel.batch.len();
        self.usual_events = events;
        // Counted before it is sent: a fast sink has delivered it before this thread goes on.
        if let Some(sink) = &self.offered_to {
            sink.offer(events);
        }
        inlet.send(Shipment::new(parcel.batch, parcel.failures), custody);
        true
    }
}

impl Drop for Outlet {
    /// The sender has answered for what is gathered, so an end of its actor must not take it along: it goes beyond the
    /// credits, at most about one batch a time.
    fn drop(&mut self) {
        let spillway = self.spillway.clone();
        let mut state = spillway
            .as_ref()
            .map(|spillway| (spillway, spillway.lock()));
        while !self.parcels.is_empty() {
            match &mut state {
                Some((spillway, state)) if self.goes_through_log(state) => {
                    self.spill_first(spillway, state);
                }
                _ => {
                    self.send_first();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix::prelude::{Actor, Addr, Context, Handler, Message};
    use actix_rt::System;
    use tokio::sync::mpsc;

    use super::*;
    use crate::batch::{Intake, detached_types};
    use crate::mailbox::Deliver;
    use crate::memory::MemoryBudget;
    use crate::origin::Mark;
    use crate::spillway::Congested;

    /// The sink, the owner of the outlet, and the actor of the overflow log in one.
    struct Others {
        held: Vec<Deliver>,
        congestions: mpsc::Sender<()>,
        wakes: mpsc::Sender<()>,
    }

    /// Has the sink take what it has.
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Take;

    impl Actor for Others {
        type Context = Context<Self>;
    }

    impl Handler<Deliver> for Others {
        type Result = ();

        fn handle(&mut self, deliver: Deliver, _: &mut Context<Self>) {
            self.held.push(deliver);
        }
    }

    impl Handler<Take> for Others {
        type Result = ();

        fn handle(&mut self, _: Take, _: &mut Context<Self>) {
            self.held.drain(..).for_each(|held| drop(held.settle()));
        }
    }

    impl Handler<OutletReady> for Others {
        type Result = ();

        fn handle(&mut self, _: OutletReady, _: &mut Context<Self>) {
            self.wakes.try_send(()).expect("a waiting test");
        }
    }

    impl Handler<Congested> for Others {
        type Result = ();

        fn handle(&mut self, _: Congested, _: &mut Context<Self>) {
            self.congestions.try_send(()).expect("a waiting test");
        }
    }

    struct World {
        outlet: Outlet,
        spillway: Arc<Spillway>,
        others: Addr<Others>,
        congestions: mpsc::Receiver<()>,
        wakes: mpsc::Receiver<()>,
        registry: Arc<Registry>,
    }

    impl World {
        fn new() -> Self {
            let (sender, congestions) = mpsc::channel(8);
            let (waker, wakes) = mpsc::channel(64);
            let others = Others {
                held: Vec::new(),
                congestions: sender,
                wakes: waker,
            };
            let others = others.start();
            let sink = Inlet::new();
            sink.open(others.clone().recipient());
            let spillway = Spillway::new("slow", Inlet::new());
            spillway.set_watcher(others.clone().recipient());
            let target = Target {
                spillway: Some(spillway.clone()),
                ..Target::of(&sink)
            };
            let registry = Arc::new(Registry::default());
            Self {
                outlet: Outlet::to(&target, others.clone().recipient(), 0, &registry),
                spillway,
                others,
                congestions,
                wakes,
                registry,
            }
        }

        /// Adds full batches until there is no room for more.
        fn fill(&mut self) {
            self.outlet.flush();
            while self.outlet.has_room() {
                self.outlet.append(self.full_batch());
                self.outlet.flush();
            }
        }

        /// The journal has its events.
        fn full_batch(&self) -> EventBatch {
            self.batch(BATCH_EVENTS_MAX, |registry, bytes| {
                let mark = Mark {
                    finished: Arc::default(),
                    first: 0,
                };
                Origin::read_back(BATCH_EVENTS_MAX, bytes, registry.source("s"), mark)
            })
        }

        /// Nothing has its events.
        fn plain_batch(&self, events: usize) -> EventBatch {
            self.batch(events, |registry, bytes| {
                Origin::accepted(events, bytes, registry.source("s"), None)
            })
        }

        fn batch(
            &self,
            events: usize,
            origin: impl FnOnce(&Registry, usize) -> Arc<Origin>,
        ) -> EventBatch {
            let (mut intake, mut types) = (Intake::over(String::new()), detached_types());
            let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
            for _ in 0..events {
                intake.push_line(line, &mut types).unwrap();
            }
            let origin = origin(&self.registry, intake.text.len());
            let arena = Arena::new(intake.text, &MemoryBudget::new(usize::MAX));
            EventBatch::from_parts(intake.records, Arc::new(arena), origin)
        }

        /// The sink takes all that is gathered.
        async fn empty(&mut self) {
            while !self.outlet.is_empty() {
                self.others.send(Take).await.unwrap();
                self.outlet.flush();
            }
        }

        fn is_spilling(&self) -> bool {
            self.spillway.lock().is_spilling
        }
    }

    const INSTANT: Duration = Duration::from_millis(1);

    #[test]
    fn a_sink_is_slow_once_a_sender_has_been_full_for_long_and_never_empty() {
        System::new().block_on(async {
            tokio::time::pause();
            let nearly = STUCK_AFTER_MIN - INSTANT;
            let mut world = World::new();
            for _ in 0..2 {
                world.fill();
                let begun = Instant::now();
                // It takes some now and then, and is behind all the same.
                while begun.elapsed() + nearly < SLOW_AFTER_MIN {
                    tokio::time::advance(nearly).await;
                    world.others.send(Take).await.unwrap();
                    world.fill();
                }
                tokio::time::advance(SLOW_AFTER_MIN - INSTANT - begun.elapsed()).await;
                world.fill();
                assert!(!world.is_spilling());
                world.empty().await;
            }
            world.fill();
            let begun = Instant::now();
            while begun.elapsed() < SLOW_AFTER_MIN {
                tokio::time::advance(nearly).await;
                world.others.send(Take).await.unwrap();
                world.fill();
            }
            assert!(world.is_spilling());
        });
    }

    #[test]
    fn a_sink_is_stuck_once_it_takes_nothing_from_a_full_sender() {
        System::new().block_on(async {
            tokio::time::pause();
            let nearly = STUCK_AFTER_MIN - INSTANT;
            let mut world = World::new();
            for _ in 0..3 {
                world.fill();
                tokio::time::advance(nearly).await;
                world.fill();
                world.empty().await;
            }
            world.fill();
            // It takes some, waits with room, and is full again.
            tokio::time::advance(nearly).await;
            world.others.send(Take).await.unwrap();
            world.outlet.flush();
            tokio::time::advance(STUCK_AFTER_MIN).await;
            world.fill();
            assert!(!world.is_spilling());
            tokio::time::advance(nearly).await;
            world.fill();
            assert!(!world.is_spilling());
            tokio::time::advance(INSTANT).await;
            world.fill();
            assert!(world.is_spilling());
            // Nobody was told to look again, so it was asked for once.
            assert_eq!(world.congestions.recv().await, Some(()));
            assert!(world.congestions.try_recv().is_err());
        });
    }

    #[test]
    fn what_nothing_keeps_holds_up_nobody_and_overtakes_nothing_in_the_log() {
        System::new().block_on(async {
            tokio::time::pause();
            let mut world = World::new();
            world.fill();
            world.empty().await;
            world.spillway.begin();
            // The window is full, and so these wait.
            while world.outlet.is_clear() {
                world.outlet.append(world.plain_batch(1));
                world.outlet.flush();
            }
            world.outlet.append(world.plain_batch(BATCH_EVENTS_MAX));
            world.outlet.flush();
            assert_eq!(world.outlet.gathered(), BATCH_EVENTS_MAX);
            // What the journal has does not: they go with it, and others follow although the sink takes them.
            world.outlet.append(world.full_batch());
            world.outlet.flush();
            assert_eq!(world.outlet.gathered(), 0);
            assert_eq!(world.spillway.overflow.window().len(), 2);
            world.others.send(Take).await.unwrap();
            world.outlet.append(world.plain_batch(1));
            world.outlet.flush();
            assert!(world.outlet.inlet.window().is_empty());
        });
    }

    #[test]
    fn who_waits_is_told_to_look_again_and_that_the_log_has_begun() {
        System::new().block_on(async {
            tokio::time::pause();
            let mut world = World::new();
            for _ in 0..2 {
                world.fill();
                assert_eq!(world.congestions.recv().await, Some(()));
                assert!(world.wakes.try_recv().is_err());
                world.spillway.look_again();
                assert_eq!(world.wakes.recv().await, Some(()));
                assert!(!world.is_spilling());
            }
            world.fill();
            // Another sender has found the sink slow.
            world.spillway.begin();
            assert_eq!(world.wakes.recv().await, Some(()));
        });
    }
}
