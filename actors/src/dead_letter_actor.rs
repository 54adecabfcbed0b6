//! The actor that every event ends at that was given up: it counts, logs, keeps and copies dead letters.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix::prelude::{Actor, ActorContext, AsyncContext, Context, Handler};

use crate::batch::EventBatch;
use crate::dead_letter_copy::{AlsoTo, Copier};
use crate::dead_letter_desk::{DeadLetterDesk, ReadDeadLetters};
use crate::dead_letter_store::{DeadLetter, DeadLetterLimits, DeadLetterStore};
use crate::mailbox::{Deliver, OutletReady, Turn};
use crate::shipment::Shipment;
use crate::stats::Registry;
use crate::supervision::{Lifeline, Stop};

/// Dead letters that are logged one by one each second; beyond, only counted.
const LOGGED_PER_SECOND_MAX: u32 = 10;

/// The rule by which the oldest dead letter goes for a new one. Its event is finished and counted as a dead letter already.
pub const DEAD_LETTER_OVERFLOW: &str = "dead-letter-overflow";
/// The rule by which a dead letter is kept, but its copy cannot be written: the event's id leaves no room for the copy's.
pub const DEAD_LETTER_NOT_COPIED: &str = "dead-letter-not-copied";

/// What the dead-letter actor is started with.
#[derive(Clone)]
pub struct DeadLetterSpec {
    /// What is kept.
    pub limits: DeadLetterLimits,
    /// The sink that gets a copy of each.
    pub also_to: Option<AlsoTo>,
    /// The version of the config that is applied.
    pub config_version: Arc<str>,
    /// Where they are read.
    pub desk: Arc<DeadLetterDesk>,
    /// The counts.
    pub registry: Arc<Registry>,
}

impl DeadLetterSpec {
    /// Dead letters that are counted and logged, but not kept.
    pub fn counting(registry: Arc<Registry>) -> Self {
        Self {
            limits: DeadLetterLimits { count: 0, bytes: 0 },
            also_to: None,
            config_version: "".into(),
            desk: Arc::default(),
            registry,
        }
    }
}

/// Takes all dead letters: counts them, logs each within a rate, keeps the newest, and sends copies to a sink.
pub struct DeadLetterActor {
    spec: DeadLetterSpec,
    store: DeadLetterStore,
    copier: Option<Copier>,
    turn: Turn,
    logged: u32,
    second: Instant,
    lifeline: Lifeline,
}

impl DeadLetterActor {
    /// The actor; `lifeline` tells its supervisor of its end. What the one before it kept is kept on.
    pub fn new(spec: DeadLetterSpec, lifeline: Lifeline, ctx: &Context<Self>) -> Self {
        let copier = spec.also_to.clone().map(|also_to| {
            let owner = ctx.address().recipient();
            Copier::new(also_to, owner, &spec.registry)
        });
        let left = spec.desk.take();
        Self {
            store: left.unwrap_or_else(|| DeadLetterStore::new(spec.limits)),
            copier,
            turn: Turn::default(),
            logged: 0,
            second: Instant::now(),
            lifeline,
            spec,
        }
    }

    /// Takes the events that are not taken yet: what an actor before this one has kept or copied is committed.
    fn take(&mut self, shipment: &Shipment) {
        let taken = shipment.committed();
        let failures = &shipment.failures[taken..];
        for run in failures.chunk_by(|a, b| a.branch == b.branch && a.class == b.class) {
            let (branch, class) = (&run[0].branch, run[0].class.as_str());
            self.spec.registry.dead_letter(branch, class, run.len());
        }
        let at = SystemTime::now();
        let mut overflowed = 0;
        for (index, failure) in (taken..).zip(failures) {
            let event = shipment.batch.event(index);
            let sequence = self.store.next_sequence();
            let version = &self.spec.config_version;
            let letter = DeadLetter::new(sequence, at, &event, failure.clone(), version);
            self.log(&letter);
            let is_copied = self.copy(&letter, &shipment.batch);
            overflowed += self.store.add(Arc::new(letter));
            shipment.commit(index + 1);
            if !is_copied {
                // Only now that it is kept.
                shipment.batch.complete_range(index..index + 1);
            }
        }
        if overflowed > 0 {
            self.spec
                .registry
                .drop_by_rule(DEAD_LETTER_OVERFLOW, overflowed);
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
}

impl Drop for DeadLetterActor {
    fn drop(&mut self) {
        let empty = DeadLetterStore::new(self.spec.limits);
        self.spec
            .desk
            .leave(std::mem::replace(&mut self.store, empty));
    }
}

impl Actor for DeadLetterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.spec.desk.open(ctx.address().recipient());
        self.lifeline.spawned(ctx.address().recipient());
        self.lifeline.started();
    }
}

impl Handler<Deliver> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        self.take(deliver.shipment());
        let custody = deliver.settle();
        if let Some(copier) = &mut self.copier {
            copier.hand_on(custody);
        }
    }
}

impl Handler<OutletReady> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, _: OutletReady, _: &mut Context<Self>) {
        if let Some(copier) = &mut self.copier {
            copier.flush();
        }
    }
}

impl Handler<ReadDeadLetters> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, question: ReadDeadLetters, _: &mut Context<Self>) {
        let is_read = match question {
            ReadDeadLetters::Page(query, answer) => answer.send(self.store.page(&query)).is_ok(),
            ReadDeadLetters::One(sequence, answer) => answer.send(self.store.get(sequence)).is_ok(),
        };
        if !is_read {
            tracing::debug!("whoever asked for dead letters has gone");
        }
    }
}

impl Handler<Stop> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
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
            limits,
            ..DeadLetterSpec::counting(registry.clone())
        };
        let line =
            |id: u32| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#);
        let page = System::new().block_on(async {
            let inlet = Inlet::new();
            for id in 0..2 {
                let (lifeline, watch) = Lifeline::root();
                let actor = DeadLetterActor::create(|ctx| {
                    DeadLetterActor::new(spec.clone(), lifeline, ctx)
                });
                inlet.open(actor.clone().recipient());
                watch.started.await.unwrap();
                send(&line(id), &spec, &inlet);
                registry.source("s").in_flight.drained().await;
                if id == 0 {
                    control(&actor.recipient(), Stop);
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
