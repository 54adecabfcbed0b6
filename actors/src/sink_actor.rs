//! The sink actor of sinks that write at once: appends what comes, flushes when idle or full, then has the sink answer for it.
//!
//! After a panic the sink is built anew in place, and what was appended and not flushed is appended again.

use std::ops::Range;
use std::sync::Arc;

use actix::prelude::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler};
use futures::FutureExt;

use crate::actor_status::ActorState;
use crate::dead_letter::{Attempt, Attempts, FailureClass};
use crate::guard::{self, Panic};
use crate::mailbox::{Deliver, OutletReady, Turn};
use crate::outlet::Outlet;
use crate::sink::{AnySink, FlushError, RetryPolicy, Sink};
use crate::sink_spec::{SinkSpec, add_panic};
use crate::sink_stats::SinkStats;
use crate::supervision::{Lifeline, Stop, jitter_sample};
use crate::written::Written;

/// Buffered bytes at which a sink is flushed though more is coming.
const FLUSH_BYTES: usize = 256 * 1024;
/// Attempts at an event at which a sink panics; then it is a dead letter.
pub const SINK_ATTEMPTS_MAX: u32 = 3;

/// Runs a sink that writes at once.
pub struct SinkActor {
    spec: SinkSpec,
    retry: RetryPolicy,
    /// There unless it could not be built anew.
    sink: Option<Box<dyn Sink>>,
    stats: Arc<SinkStats>,
    /// Calls of the sink so far.
    calls: u64,
    /// Appended and not flushed.
    held: Vec<Appended>,
    dead_letters: Outlet,
    is_flush_due: bool,
    /// Failed flushes in a row; while there are any, nothing is flushed but by the retry that is scheduled.
    failures: u32,
    stopping: Option<Stop>,
    turn: Turn,
    lifeline: Lifeline,
}

struct Appended {
    deliver: Deliver,
    /// Events of it that the sink refused, now or before it was restarted; they went to the dead letters.
    refused: Vec<Range<usize>>,
}

/// An event among those held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    batch: usize,
    event: usize,
}

/// What keeps an event from being appended.
enum Trouble {
    Refused(String),
    Panicked(Panic),
}

/// Sent by the actor to itself: handled once its mailbox is empty.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Flush;

impl SinkActor {
    /// The actor around a sink that was just built.
    pub fn new(
        spec: SinkSpec,
        sink: Box<dyn Sink>,
        lifeline: Lifeline,
        ctx: &Context<Self>,
    ) -> Self {
        let owner = ctx.address().recipient();
        Self {
            retry: spec.factory.retry(),
            sink: Some(sink),
            stats: spec.registry.sink(&spec.name),
            calls: 0,
            held: Vec::new(),
            dead_letters: Outlet::new(spec.dead_letters.clone(), owner, 0, &spec.registry, None),
            is_flush_due: false,
            failures: 0,
            stopping: None,
            turn: Turn::default(),
            lifeline,
            spec,
        }
    }

    /// Appends a batch. False if the actor ends.
    fn take(&mut self, deliver: Deliver, ctx: &mut Context<Self>) -> bool {
        let mut refused = deliver.shipment().ended();
        refused.sort_by_key(|events| events.start);
        let from = Place {
            batch: self.held.len(),
            event: 0,
        };
        self.held.push(Appended { deliver, refused });
        self.append(from, ctx)
    }

    /// Appends everything that is held from that event on; after a panic, all of it. False if the actor ends.
    fn append(&mut self, mut at: Place, ctx: &mut Context<Self>) -> bool {
        let mut failing = Vec::new();
        while let Some(trouble) = self.append_on(&mut at, &failing) {
            match trouble {
                Trouble::Refused(reason) => {
                    let mut attempts = Attempts::default();
                    attempts.add(Attempt::failed(FailureClass::Rejected, &reason));
                    self.refuse(at, attempts);
                }
                Trouble::Panicked(panic) => {
                    self.stats.errors.add(1);
                    match add_panic(&mut failing, at, panic) {
                        Some(attempts) => self.refuse(at, attempts),
                        None => self.stats.retries.add(1),
                    }
                    if !self.rebuild(ctx) {
                        return false;
                    }
                    at = Place::default();
                }
            }
        }
        self.stats.call.leave();
        self.dead_letters.flush();
        true
    }

    /// Appends until an event makes trouble, which `at` is then; `failing` are those that did so before.
    fn append_on(&mut self, at: &mut Place, failing: &[(Place, Attempts)]) -> Option<Trouble> {
        let sink = self.sink.as_mut()?;
        while let Some(Appended { deliver, refused }) = self.held.get(at.batch) {
            let batch = deliver.batch();
            let is_last = failing.iter().any(|(place, attempts)| {
                place.batch == at.batch && attempts.count() + 1 >= SINK_ATTEMPTS_MAX
            });
            // One guard for the whole batch: where it was lies outside of it.
            let append = || {
                while at.event < batch.len() {
                    if !refused.iter().any(|refused| refused.contains(&at.event)) {
                        self.calls += 1;
                        self.stats.call.enter(self.calls, at.event);
                        sink.append(&batch.event(at.event))?;
                    }
                    at.event += 1;
                }
                Ok(())
            };
            match guard::guard_if_last(is_last, "sink", &self.spec.name, append) {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return Some(Trouble::Refused(reason)),
                Err(panic) => return Some(Trouble::Panicked(panic)),
            }
            *at = Place {
                batch: at.batch + 1,
                event: 0,
            };
        }
        None
    }

    /// Makes an event a dead letter.
    fn refuse(&mut self, at: Place, attempts: Attempts) {
        let failure = self.spec.failure(attempts);
        let Appended { deliver, refused } = &mut self.held[at.batch];
        let batch = deliver.batch();
        let record = batch.records()[at.event];
        let (arena, origin) = (
            batch.arena(record.arena),
            deliver.shipment().give_up(at.event),
        );
        self.dead_letters
            .push_failed(record, arena, &origin, failure, None);
        self.stats.refuse(1);
        refused.push(at.event..at.event + 1);
        refused.sort_by_key(|events| events.start);
    }

    /// Has a fresh sink take the place of one that panicked. False if there is none, and the actor ends: what is held is
    /// the next one's.
    fn rebuild(&mut self, ctx: &mut Context<Self>) -> bool {
        let of_its_kind = |built| match built {
            AnySink::Sync(sink) => Some(sink),
            AnySink::Async(_) => None,
        };
        match self.spec.rebuild(&mut self.sink, of_its_kind) {
            Ok(()) => true,
            Err(error) => {
                self.lifeline.fail(error.to_string());
                ctx.terminate();
                false
            }
        }
    }

    fn flush(&mut self, ctx: &mut Context<Self>) {
        match self.call(|sink| sink.flush()) {
            None => {}
            Some(Ok(Ok(()))) => {
                self.failures = 0;
                let status = self.lifeline.status();
                status.change(ActorState::Paused, ActorState::Running);
                self.hand_over(ctx);
                self.stop_if_done(ctx);
            }
            Some(Ok(Err(FlushError::Unwritten(reason)))) => self.flush_later(&reason, ctx),
            Some(Ok(Err(FlushError::Unsafe(reason)))) => self.write_again(&reason, ctx),
            Some(Ok(Err(FlushError::Gone(reason)))) => {
                self.stats.errors.add(1);
                self.failures += 1;
                self.spec.registry.sink_gone(&self.spec.name, reason);
            }
            Some(Err(panic)) => self.write_again(&format!("the sink panicked: {panic}"), ctx),
        }
    }

    /// Calls the sink under a guard and the eye of the watchdog. None if there is no sink.
    fn call<T>(&mut self, call: impl FnOnce(&mut dyn Sink) -> T) -> Option<Result<T, Panic>> {
        let sink = self.sink.as_mut()?;
        self.calls += 1;
        self.stats.call.enter(self.calls, 0);
        let called = guard::guard("sink", &self.spec.name, || call(&mut **sink));
        self.stats.call.leave();
        Some(called)
    }

    /// What was flushed is the sink's: its custody is returned, and the sink says when it is done.
    fn hand_over(&mut self, ctx: &mut Context<Self>) {
        let mut written = Written::nothing(Arc::clone(&self.stats));
        for Appended { deliver, refused } in self.held.drain(..) {
            if !deliver.settle_if_current() {
                // It was away for too long: another actor writes the batch, and answers for it.
                continue;
            }
            let shipment = deliver.shipment();
            let mut from = 0;
            for refused in refused {
                written.add(shipment, from..refused.start);
                from = refused.end;
            }
            written.add(shipment, from..shipment.batch.len());
        }
        let registry = &self.spec.registry;
        let is_hurried = registry.is_input_over() || registry.in_flight.urgency.is_any();
        let handed_over = self.call(|sink| {
            sink.written(written);
            if is_hurried {
                sink.hurry();
            }
        });
        if matches!(handed_over, Some(Err(_))) {
            self.rebuild(ctx);
        }
    }

    /// Hurries the sink each time a source waits for events to be done, and once no source takes in any more.
    fn hurry_when_wanted(&mut self, ctx: &mut Context<Self>) {
        let registry = Arc::clone(&self.spec.registry);
        let wanted = async move {
            futures::select_biased! {
                () = registry.input_over().fuse() => true,
                () = registry.in_flight.urgency.begun().fuse() => false,
            }
        };
        ctx.spawn(
            actix::fut::wrap_future::<_, Self>(wanted).map(|is_over, actor, ctx| {
                if !is_over {
                    actor.hurry_when_wanted(ctx);
                }
                if matches!(actor.call(|sink| sink.hurry()), Some(Err(_))) {
                    actor.begin_anew(ctx);
                }
            }),
        );
    }

    /// Has a fresh sink append all that is held. False if the actor ends.
    fn begin_anew(&mut self, ctx: &mut Context<Self>) -> bool {
        self.rebuild(ctx) && self.append(Place::default(), ctx)
    }

    fn write_again(&mut self, reason: &str, ctx: &mut Context<Self>) {
        if self.begin_anew(ctx) {
            self.flush_later(reason, ctx);
        }
    }

    /// Schedules another attempt at what is held.
    fn flush_later(&mut self, reason: &str, ctx: &mut Context<Self>) {
        self.stats.errors.add(1);
        self.failures += 1;
        let wait = self.retry.backoff.wait(self.failures, jitter_sample());
        tracing::warn!(
            sink = &*self.spec.name,
            reason,
            ?wait,
            "cannot write, trying again"
        );
        let status = self.lifeline.status();
        status.change(ActorState::Running, ActorState::Paused);
        if self.failures == 1 {
            status.failed(reason.to_owned());
        }
        ctx.run_later(wait, |actor, ctx| {
            actor.stats.retries.add(1);
            actor.flush(ctx);
        });
    }

    fn stop_if_done(&mut self, ctx: &mut Context<Self>) {
        let is_done = self.held.is_empty() && self.dead_letters.is_empty();
        if self.stopping.is_some() && is_done {
            ctx.stop();
        }
    }
}

impl Drop for SinkActor {
    fn drop(&mut self) {
        self.spec.drop_sink(&mut self.sink);
        // An actor that died in a call is not hung.
        self.stats.call.leave();
    }
}

impl Actor for SinkActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        self.lifeline.started();
        self.hurry_when_wanted(ctx);
    }
}

impl Handler<Deliver> for SinkActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        if self.stopping == Some(Stop::HandOver) {
            return;
        }
        if !self.take(deliver, ctx) || self.failures > 0 {
            return;
        }
        let sink = self.sink.as_ref();
        if sink.is_some_and(|sink| sink.buffered_bytes() >= FLUSH_BYTES) {
            self.flush(ctx);
        } else if !std::mem::replace(&mut self.is_flush_due, true) {
            ctx.notify(Flush);
        }
    }
}

impl Handler<Flush> for SinkActor {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) {
        self.is_flush_due = false;
        if self.failures == 0 {
            self.flush(ctx);
        }
    }
}

impl Handler<OutletReady> for SinkActor {
    type Result = ();

    fn handle(&mut self, _: OutletReady, ctx: &mut Context<Self>) {
        self.dead_letters.flush();
        self.stop_if_done(ctx);
    }
}

impl Handler<Stop> for SinkActor {
    type Result = ();

    fn handle(&mut self, how: Stop, ctx: &mut Context<Self>) {
        self.stopping = Some(how);
        if how == Stop::Drain {
            return self.stop_if_done(ctx);
        }
        if self.failures == 0 {
            self.flush(ctx);
        }
        // What could not be flushed is in the inlet.
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::sync::{Mutex, PoisonError};

    use actix_rt::Arbiter;

    use super::*;
    use crate::batch::{Arena, EventBatch, Intake, detached_types};
    use crate::event::Event;
    use crate::mailbox::Inlet;
    use crate::memory::MemoryBudget;
    use crate::origin::Origin;
    use crate::shipment::Shipment;
    use crate::sink::SinkFactory;
    use crate::start::start_sink;
    use crate::stats::Registry;
    use crate::supervision::StartError;

    /// Tells of each flush; the first sink's does not return before it is released.
    struct Factory {
        flushed: SyncSender<()>,
        released: Mutex<Option<Receiver<()>>>,
    }

    struct Gated {
        flushed: SyncSender<()>,
        released: Option<Receiver<()>>,
    }

    impl SinkFactory for Factory {
        fn build(&self) -> Result<AnySink, StartError> {
            let released = &self.released;
            let released = released
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            Ok(AnySink::Sync(Box::new(Gated {
                flushed: self.flushed.clone(),
                released,
            })))
        }
    }

    impl Sink for Gated {
        fn append(&mut self, _: &Event<'_>) -> Result<(), String> {
            Ok(())
        }

        fn flush(&mut self) -> Result<(), FlushError> {
            self.flushed.send(()).expect("the test waits");
            if let Some(released) = &self.released {
                released.recv().expect("the test releases it");
            }
            Ok(())
        }

        fn buffered_bytes(&self) -> usize {
            0
        }
    }

    fn shipment(registry: &Registry) -> Arc<Shipment> {
        let (mut intake, mut types) = (Intake::over(String::new()), detached_types());
        let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
        intake.push_line(line, &mut types).unwrap();
        let Intake { text, records } = intake;
        let arena = Arc::new(Arena::new(text, &MemoryBudget::new(usize::MAX)));
        let origin = Origin::accepted(1, 1, registry.source("s"), None);
        let batch = EventBatch::from_parts(records, arena, origin);
        Arc::new(Shipment::new(batch, Vec::new()))
    }

    #[actix::test]
    async fn one_that_comes_back_once_another_has_its_place_answers_for_nothing() {
        let registry = Arc::new(Registry::default());
        let (flushed, flushes) = sync_channel(9);
        let (release, released) = sync_channel(1);
        let factory = Factory {
            flushed,
            released: Mutex::new(Some(released)),
        };
        let spec = SinkSpec {
            name: "s".into(),
            factory: Arc::new(factory),
            dead_letters: Inlet::new(),
            registry: registry.clone(),
        };
        let inlet = Inlet::new();
        registry.sink("s").offer(1);
        inlet.take_in(shipment(&registry), None);
        let arbiters = [Arbiter::new(), Arbiter::new()];
        for arbiter in &arbiters {
            let lifeline = Lifeline::root().0;
            start_sink(spec.clone(), inlet.clone(), &arbiter.handle(), lifeline);
            flushes.recv().expect("it flushes");
        }
        release.send(()).expect("it waits");
        for arbiter in arbiters {
            // Ends with what its actor is doing.
            arbiter.stop();
            arbiter.join().expect("no panic");
        }
        assert_eq!(registry.sink("s").delivered.get(), 1);
        assert_eq!(registry.source("s").finished.get(), 1);
        assert!(registry.is_balanced());
    }
}
