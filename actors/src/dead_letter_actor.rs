//! The actor that every event ends at that was given up: it counts, logs, keeps and copies dead letters.
//!
//! What comes while the store's disk syncs is the next group. An event is finished once its dead letter is kept for good.

mod at_desk;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::prelude::{Actor, ActorContext, AsyncContext, Context, Handler};

use crate::batch::EventBatch;
use crate::dead_letter_copy::{AlsoTo, Copier};
use crate::dead_letter_desk::{AskDeadLetters, DeadLetterDesk};
use crate::dead_letter_memory::DeadLetterLimits;
use crate::dead_letter_replay::{Replay, ReplaySpec};
use crate::dead_letter_store::{DeadLetter, DeadLetterStore, OpenDeadLetters};
use crate::journal::{JournalFailure, JournalRefusal};
use crate::mailbox::{Deliver, OutletReady, Turn};
use crate::stats::Registry;
use crate::supervision::{Lifeline, Stop};

/// Dead letters that are logged one by one each second; beyond, only counted.
const LOGGED_PER_SECOND_MAX: u32 = 10;
/// How often a full store is tried again for those who wait for it.
const FULL_STORE_INTERVAL: Duration = Duration::from_millis(250);
/// How often the store is tidied, and what was replayed is looked at.
const TIDY_INTERVAL: Duration = Duration::from_millis(50);

/// The rule by which the oldest dead letter goes for a new one. Its event is finished and counted as a dead letter already.
pub const DEAD_LETTER_OVERFLOW: &str = "dead-letter-overflow";
/// The rule by which a dead letter is kept, but its copy cannot be written: the event's id leaves no room for the copy's.
pub const DEAD_LETTER_NOT_COPIED: &str = "dead-letter-not-copied";

/// What the dead-letter actor is started with.
#[derive(Clone)]
pub struct DeadLetterSpec {
    /// Opens what keeps them.
    pub open: OpenDeadLetters,
    /// Where they can be sent once more; nowhere if there is none.
    pub replay: Option<ReplaySpec>,
    /// The sink that gets a copy of each.
    pub also_to: Option<AlsoTo>,
    /// Where they are read.
    pub desk: Arc<DeadLetterDesk>,
    /// The counts.
    pub registry: Arc<Registry>,
}

impl DeadLetterSpec {
    /// Dead letters that are counted and logged, but not kept.
    pub fn counting(registry: Arc<Registry>) -> Self {
        Self {
            open: DeadLetterLimits { count: 0, bytes: 0 }.in_memory(),
            replay: None,
            also_to: None,
            desk: Arc::default(),
            registry,
        }
    }
}

/// Takes all dead letters: counts them, logs each within a rate, keeps them, and sends copies to a sink.
pub struct DeadLetterActor {
    spec: DeadLetterSpec,
    /// Gone only once it was left to the next actor.
    store: Option<Box<dyn DeadLetterStore>>,
    copier: Option<Copier>,
    replay: Option<Replay>,
    /// Taken by the store, and not kept for good yet.
    group: Vec<(Deliver, Vec<Arc<DeadLetter>>)>,
    /// What the store had no room for, in order. Bounded by the senders' credits.
    waiting: VecDeque<Deliver>,
    /// Asked before the store was prepared.
    questions: VecDeque<AskDeadLetters>,
    is_prepared: bool,
    is_commit_due: bool,
    is_retry_due: bool,
    is_replay_due: bool,
    turn: Turn,
    logged: u32,
    second: Instant,
    lifeline: Lifeline,
}

/// Sent by the actor to itself: handled once its mailbox is empty.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Commit;

/// Sent by the actor to itself: looks through a part of what an earlier process has kept.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Prepare;

impl DeadLetterActor {
    /// The actor around a store that was just opened, or that one before it has left; `lifeline` tells its supervisor of
    /// its end.
    pub fn new(
        spec: DeadLetterSpec,
        store: Box<dyn DeadLetterStore>,
        lifeline: Lifeline,
        ctx: &Context<Self>,
    ) -> Self {
        let owner = || ctx.address().recipient::<OutletReady>();
        let copier = spec
            .also_to
            .clone()
            .map(|also_to| Copier::new(also_to, owner(), &spec.registry));
        // The copier's outlet is number 0.
        let replay = spec.replay.clone();
        let replay = replay.map(|replay| Replay::new(replay, owner(), &spec.registry, 1));
        Self {
            store: Some(store),
            copier,
            replay,
            group: Vec::new(),
            waiting: VecDeque::new(),
            questions: VecDeque::new(),
            is_prepared: false,
            is_commit_due: false,
            is_retry_due: false,
            is_replay_due: false,
            turn: Turn::default(),
            logged: 0,
            second: Instant::now(),
            lifeline,
            spec,
        }
    }

    fn store(&mut self) -> &mut dyn DeadLetterStore {
        let store = self.store.as_mut();
        store.expect("it is left at the end only").as_mut()
    }

    /// Has the store take the events that are not taken yet; what an actor before this one has kept is committed.
    fn take(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(deliver);
            return;
        }
        let shipment = deliver.shipment();
        let taken = shipment.committed();
        let at = SystemTime::now();
        let version = &self.spec.registry.config_version();
        let letter = |(index, failure): (usize, &crate::dead_letter::Failure)| {
            DeadLetter::new(at, &shipment.batch.event(index), failure.clone(), version)
        };
        let failures = &shipment.failures[taken..];
        let letters: Vec<_> = (taken..).zip(failures).map(letter).collect();
        match self.store().append(letters) {
            Ok(letters) => {
                if self.spec.registry.dead_letter_store.set_full(false) {
                    tracing::info!("the store of dead letters has room again");
                }
                self.group.push((deliver, letters));
                if !std::mem::replace(&mut self.is_commit_due, true) {
                    ctx.notify(Commit);
                }
            }
            Err(JournalRefusal::Full(reason)) => {
                if self.spec.registry.dead_letter_store.set_full(true) {
                    tracing::error!(
                        reason,
                        "the store of dead letters has no room: whoever gives events up waits; \
                         purge some (`veltrix dead-letters purge`)"
                    );
                }
                self.waiting.push_back(deliver);
                if !std::mem::replace(&mut self.is_retry_due, true) {
                    ctx.run_later(FULL_STORE_INTERVAL, |actor, ctx| {
                        actor.is_retry_due = false;
                        actor.try_waiting(ctx);
                    });
                }
            }
            Err(JournalRefusal::Failed(failure)) => self.fail(&failure, ctx),
        }
    }

    fn try_waiting(&mut self, ctx: &mut Context<Self>) {
        for deliver in std::mem::take(&mut self.waiting) {
            self.take(deliver, ctx);
        }
    }

    /// Keeps the group for good; its events are finished then, or their copies stand for them.
    fn commit(&mut self, ctx: &mut Context<Self>) {
        self.is_commit_due = false;
        match self.store().sync() {
            Ok(0) => {}
            Ok(overflowed) => {
                let registry = &self.spec.registry;
                registry.drop_by_rule(DEAD_LETTER_OVERFLOW, overflowed);
            }
            Err(failure) => return self.fail(&failure, ctx),
        }
        for (deliver, letters) in std::mem::take(&mut self.group) {
            let shipment = deliver.shipment();
            let taken = shipment.committed();
            self.count(&letters);
            for (index, letter) in (taken..).zip(&letters) {
                self.log(letter);
                let is_copied = self.copy(letter, &shipment.batch);
                shipment.commit(index + 1);
                if !is_copied {
                    // Only now that it is kept.
                    shipment.batch.complete_range(index..index + 1);
                }
            }
            let custody = deliver.settle();
            if let Some(copier) = &mut self.copier {
                copier.hand_on(custody);
            }
        }
        self.report();
    }

    fn count(&self, letters: &[Arc<DeadLetter>]) {
        let same = |a: &Arc<DeadLetter>, b: &Arc<DeadLetter>| {
            a.failure.branch == b.failure.branch && a.failure.class == b.failure.class
        };
        for run in letters.chunk_by(same) {
            let failure = &run[0].failure;
            let (branch, class) = (&failure.branch, failure.class.as_str());
            self.spec.registry.dead_letter(branch, class, run.len());
        }
    }

    /// Whether a copy stands for the event from now on.
    fn copy(&mut self, letter: &DeadLetter, batch: &EventBatch) -> bool {
        let Some(copier) = self.copier.as_mut().filter(|copier| copier.wants(letter)) else {
            return false;
        };
        let copied = copier.copy(letter, batch);
        if let Err(error) = &copied {
            self.spec.registry.drop_by_rule(DEAD_LETTER_NOT_COPIED, 1);
            let sequence = letter.sequence;
            tracing::warn!(sequence, %error, "cannot copy a dead letter to its sink");
        }
        copied.is_ok()
    }

    fn log(&mut self, letter: &DeadLetter) {
        if !self.may_log() {
            return;
        }
        let (event, failure) = (letter.event(), &letter.failure);
        tracing::warn!(
            sequence = letter.sequence,
            branch = &*failure.branch,
            class = failure.class.as_str(),
            reason = &*failure.reason,
            attempts = failure.attempts.count(),
            id = &*event.id(),
            source = &*event.source(),
            r#type = &*event.event_type(),
            "dead letter",
        );
    }

    fn may_log(&mut self) -> bool {
        if self.second.elapsed().as_secs() >= 1 {
            self.second = Instant::now();
            self.logged = 0;
        }
        self.logged = self.logged.saturating_add(1);
        self.logged <= LOGGED_PER_SECOND_MAX
    }

    fn report(&mut self) {
        let store = self.store();
        let (kept, bytes) = (store.kept(), store.bytes_used());
        self.spec.registry.dead_letter_store.set_kept(kept, bytes);
    }

    /// Keeps nothing any more: what is not finished is in the journal.
    fn fail(&mut self, failure: &JournalFailure, ctx: &mut Context<Self>) {
        tracing::error!(reason = %failure, "the store of dead letters has failed");
        self.lifeline
            .fail(format!("the store of dead letters failed: {failure}"));
        ctx.terminate();
    }

    /// Looks after what was replayed, and has the store give room back.
    fn tidy(&mut self, ctx: &mut Context<Self>) {
        if !self.is_prepared {
            return;
        }
        self.look_after_replay(ctx);
        if let Err(failure) = self.store().tidy() {
            self.fail(&failure, ctx);
        }
    }
}

impl Drop for DeadLetterActor {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            self.spec.desk.leave(store);
        }
    }
}

impl Actor for DeadLetterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.notify(Prepare);
        ctx.run_interval(TIDY_INTERVAL, Self::tidy);
        self.spec.desk.open(ctx.address().recipient());
        self.lifeline.spawned(ctx.address().recipient());
        self.lifeline.started();
    }
}

impl Handler<Deliver> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        self.take(deliver, ctx);
    }
}

impl Handler<Commit> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, _: Commit, ctx: &mut Context<Self>) {
        self.commit(ctx);
    }
}

impl Handler<Prepare> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, _: Prepare, ctx: &mut Context<Self>) {
        match self.store().prepare() {
            Ok(true) => ctx.notify(Prepare),
            Ok(false) => {
                self.is_prepared = true;
                self.report();
                for question in std::mem::take(&mut self.questions) {
                    self.answer(question, ctx);
                }
            }
            Err(failure) => self.fail(&failure, ctx),
        }
    }
}

impl Handler<OutletReady> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, _: OutletReady, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        if let Some(copier) = &mut self.copier {
            copier.flush();
        }
        if let Some(replay) = &mut self.replay {
            replay.flush();
        }
        self.replay_later(ctx);
    }
}

impl Handler<Stop> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        if !self.group.is_empty() {
            self.commit(ctx);
        }
        self.tidy(ctx);
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use actix::prelude::Recipient;
    use actix_rt::System;

    use super::*;
    use crate::batch::{Arena, Intake, detached_types};
    use crate::dead_letter::{Failure, FailureClass};
    use crate::dead_letter_store::DeadLetterQuery;
    use crate::mailbox::{Inlet, control};
    use crate::memory::MemoryBudget;
    use crate::origin::Origin;
    use crate::outlet::Outlet;

    /// Owns the outlet that dead letters are sent through.
    struct Sender;

    impl Actor for Sender {
        type Context = Context<Self>;
    }

    impl Handler<OutletReady> for Sender {
        type Result = ();

        fn handle(&mut self, _: OutletReady, _: &mut Context<Self>) {}
    }

    fn send(event: &str, spec: &DeadLetterSpec, inlet: &Arc<Inlet>) {
        let mut intake = Intake::over(String::new());
        intake.push_line(event, &mut detached_types()).unwrap();
        let origin = Origin::accepted(1, event.len(), spec.registry.source("s"), None);
        let arena = Arc::new(Arena::new(intake.text, &MemoryBudget::new(1_000)));
        let owner: Recipient<OutletReady> = Sender.start().recipient();
        let mut outlet = Outlet::new(inlet.clone(), owner, 0, &spec.registry, None);
        let failure = Failure::untried("router", FailureClass::Unroutable, "nobody wants it");
        outlet.push_failed(intake.records[0], &arena, &origin, failure, None);
        outlet.flush();
    }

    #[test]
    fn a_restarted_actor_keeps_on_what_the_one_before_has_kept() {
        let registry = Arc::new(Registry::default());
        let limits = DeadLetterLimits {
            count: 10,
            bytes: 10_000,
        };
        let spec = DeadLetterSpec {
            open: limits.in_memory(),
            ..DeadLetterSpec::counting(registry.clone())
        };
        let line =
            |id: u32| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#);
        let page = System::new().block_on(async {
            let inlet = Inlet::new();
            for id in 0..2 {
                let (lifeline, watch) = Lifeline::root();
                let store = spec.desk.take().map_or_else(|| (spec.open)(), Ok).unwrap();
                let actor = DeadLetterActor::create(|ctx| {
                    DeadLetterActor::new(spec.clone(), store, lifeline, ctx)
                });
                inlet.open(actor.clone().recipient());
                watch.started.await.unwrap();
                send(&line(id), &spec, &inlet);
                registry.source("s").in_flight.drained().await;
                if id == 0 {
                    control(&actor.recipient(), Stop::Drain);
                    watch.exited.await.unwrap();
                }
            }
            let query = DeadLetterQuery {
                limit: 10,
                ..DeadLetterQuery::default()
            };
            spec.desk.page(query).await.unwrap()
        });
        let found: Vec<(u64, String)> = page
            .letters
            .iter()
            .map(|letter| (letter.sequence, letter.event().id().into_owned()))
            .collect();
        assert_eq!(found, [(2, "1".to_owned()), (1, "0".to_owned())]);
        assert_eq!(
            page.letters[1].config_version,
            page.letters[0].config_version
        );
    }
}
