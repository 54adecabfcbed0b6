//! The sink actor of sinks that wait for a receiver: slots by key, one delivery at a time in each, retries in place.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler};

use crate::dead_letter::{Attempt, FailureClass};
use crate::guard::{self, Panic};
use crate::key::KeySelector;
use crate::mailbox::{Deliver, OutletReady, Turn};
use crate::outlet::Outlet;
use crate::sink::{AnySink, AsyncSink, Consignment, DeliveryError, Held, RetryPolicy};
use crate::sink_actor::SINK_ATTEMPTS_MAX;
use crate::sink_pause::Pause;
use crate::sink_slot::Slot;
use crate::sink_spec::SinkSpec;
use crate::sink_stats::SinkStats;
use crate::supervision::{Lifeline, Stop, jitter_sample};

/// Runs a sink that waits for a receiver.
pub struct AsyncSinkActor {
    pub(crate) spec: SinkSpec,
    retry: RetryPolicy,
    /// There unless it could not be built anew.
    sink: Option<Box<dyn AsyncSink>>,
    pub(crate) stats: Arc<SinkStats>,
    /// Calls of the sink so far.
    calls: u64,
    pub(crate) slots: Vec<Slot>,
    /// There while the receiver takes nothing at all.
    pub(crate) pause: Option<Pause>,
    dead_letters: Outlet,
    stopping: Option<Stop>,
    turn: Turn,
    pub(crate) lifeline: Lifeline,
}

impl AsyncSinkActor {
    /// The actor around a sink that was just built.
    pub fn new(
        spec: SinkSpec,
        sink: Box<dyn AsyncSink>,
        lifeline: Lifeline,
        ctx: &Context<Self>,
    ) -> Self {
        let owner = ctx.address().recipient();
        Self {
            retry: spec.factory.retry(),
            stats: spec.registry.sink(&spec.name),
            slots: (0..sink.slots().max(1)).map(|_| Slot::default()).collect(),
            dead_letters: Outlet::new(spec.dead_letters.clone(), owner, 0, &spec.registry, None),
            sink: Some(sink),
            calls: 0,
            pause: None,
            stopping: None,
            turn: Turn::default(),
            lifeline,
            spec,
        }
    }

    /// Starts the slot's next delivery if it is free and there is one.
    pub(crate) fn deliver(&mut self, number: usize, ctx: &mut Context<Self>) {
        if self.is_held_up(number) || self.stopping == Some(Stop::HandOver) {
            return;
        }
        let (slot, Some(sink)) = (&mut self.slots[number], &self.sink) else {
            return;
        };
        if slot.is_busy || slot.waiting.is_empty() {
            return;
        }
        let limit = if slot.singly > 0 {
            1
        } else {
            sink.events_per_delivery().max(1)
        };
        let count = slot.count_within(limit, sink.bytes_per_delivery());
        let events = slot.waiting.drain(..count).collect();
        slot.singly = slot.singly.saturating_sub(1);
        slot.since = Some(Instant::now());
        slot.failures.clear();
        slot.panics = 0;
        self.attempt(number, Consignment { events }, ctx);
    }

    pub(crate) fn attempt(&mut self, number: usize, events: Consignment, ctx: &mut Context<Self>) {
        let (slot, Some(sink)) = (&mut self.slots[number], &mut self.sink) else {
            return;
        };
        slot.is_busy = true;
        if self.stopping == Some(Stop::HandOver) {
            return;
        }
        let is_last = events.len() == 1 && slot.panics + 1 >= SINK_ATTEMPTS_MAX;
        let copy = events.clone();
        let deliver = || sink.deliver(number, copy);
        self.calls += 1;
        self.stats.call.enter(self.calls, 0);
        let delivery = guard::guard_if_last(is_last, "sink", &self.spec.name, deliver);
        self.stats.call.leave();
        match delivery {
            Ok(delivery) => {
                let delivery = guard::guarded_if_last(is_last, "sink", &self.spec.name, delivery);
                self.slots[number].is_asking = true;
                ctx.spawn(actix::fut::wrap_future::<_, Self>(delivery).map(
                    move |result, actor, ctx| {
                        actor.slots[number].is_asking = false;
                        if !events.is_current() {
                            // It took too long to end: another actor delivers them, and answers for them.
                            return ctx.stop();
                        }
                        match result {
                            Ok(result) => actor.ended(number, events, result, ctx),
                            Err(panic) => actor.panicked(number, events, panic, ctx),
                        }
                        actor.stop_if_done(ctx);
                    },
                ));
            }
            Err(panic) => self.panicked(number, events, panic, ctx),
        }
    }

    fn ended(
        &mut self,
        number: usize,
        events: Consignment,
        result: Result<(), DeliveryError>,
        ctx: &mut Context<Self>,
    ) {
        if let Err(DeliveryError::Blocked { reason, after }) = &result {
            self.stats.errors.add(1);
            return self.blocked(number, events, reason, *after, ctx);
        }
        self.unblock(number, ctx);
        let slot = &mut self.slots[number];
        match result {
            Ok(()) => {
                self.stats.deliver(events.len());
                self.stats
                    .bytes
                    .add(events.iter().map(|event| event.line().len()).sum());
                complete(&events);
            }
            Err(error) => {
                self.stats.errors.add(1);
                let class = match error {
                    DeliveryError::Permanent(_) => FailureClass::Rejected,
                    _ => FailureClass::Error,
                };
                slot.failures
                    .add(Attempt::failed(class, &error.to_string()));
                match error {
                    DeliveryError::Retryable { reason, after }
                    | DeliveryError::Blocked { reason, after } => {
                        return self.try_later(number, events, &reason, after, ctx);
                    }
                    // The receiver refused the lot for what may be one event's fault.
                    DeliveryError::Permanent(_) if events.len() > 1 => slot.split(events),
                    DeliveryError::Permanent(_) => self.give_up(number, &events),
                }
            }
        }
        self.next(number, ctx);
    }

    /// Builds the sink anew and tries again; of several events, to find the one at which it panics, each by itself.
    /// Deliveries under way in other slots go on with what they have of the sink before.
    fn panicked(
        &mut self,
        number: usize,
        events: Consignment,
        panic: Panic,
        ctx: &mut Context<Self>,
    ) {
        self.stats.errors.add(1);
        let of_its_kind = |built| match built {
            AnySink::Async(sink) => Some(sink),
            AnySink::Sync(_) => None,
        };
        if let Err(error) = self.spec.rebuild(&mut self.sink, of_its_kind) {
            // What is not delivered is the next actor's.
            self.lifeline.fail(error.to_string());
            ctx.terminate();
            return;
        }
        self.unblock(number, ctx);
        let slot = &mut self.slots[number];
        if events.len() > 1 {
            slot.split(events);
            return self.next(number, ctx);
        }
        let attempt = Attempt::failed(FailureClass::Panic, &panic.message);
        slot.failures.add(attempt.with_backtrace(panic.backtrace));
        slot.panics += 1;
        if slot.panics >= SINK_ATTEMPTS_MAX {
            self.give_up(number, &events);
            return self.next(number, ctx);
        }
        let reason = format!("the sink panicked: {}", panic.message);
        self.try_later(number, events, &reason, None, ctx);
    }

    /// The slot is through with a delivery.
    fn next(&mut self, number: usize, ctx: &mut Context<Self>) {
        self.slots[number].is_busy = false;
        self.deliver(number, ctx);
        self.stop_if_done(ctx);
    }

    /// Schedules the next attempt of the same delivery; everything behind it in the slot waits.
    fn try_later(
        &mut self,
        number: usize,
        events: Consignment,
        reason: &str,
        after: Option<Duration>,
        ctx: &mut Context<Self>,
    ) {
        let slot = &self.slots[number];
        // On top of what the receiver asks for: all whom it has sent away would come back in one moment, and one that always
        // asks for no wait at all would be asked in a tight loop.
        let backoff = self
            .retry
            .backoff
            .wait(slot.failures.count(), jitter_sample());
        let wait = backoff + after.unwrap_or_default();
        let elapsed = slot.since.map_or(Duration::ZERO, |since| since.elapsed());
        if self
            .retry
            .max_elapsed
            .is_some_and(|max| elapsed + wait > max)
        {
            self.give_up(number, &events);
            return self.next(number, ctx);
        }
        if slot.failures.count().is_power_of_two() {
            tracing::warn!(
                sink = &*self.spec.name,
                reason,
                ?wait,
                failures = slot.failures.count(),
                "cannot deliver, trying again"
            );
            self.lifeline.status().failed(reason.to_owned());
        }
        self.stats.retries.add(1);
        ctx.run_later(wait, move |actor, ctx| {
            if actor.is_held_up(number) {
                actor.slots[number].parked = Some(events);
            } else {
                actor.attempt(number, events, ctx);
            }
        });
    }

    fn give_up(&mut self, number: usize, events: &Consignment) {
        let attempts = std::mem::take(&mut self.slots[number].failures);
        for (held, index) in &events.events {
            let batch = held.batch();
            let record = batch.records()[*index];
            let (arena, origin) = (batch.arena(record.arena), held.give_up(*index));
            let failure = self.spec.failure(attempts.clone());
            self.dead_letters
                .push_failed(record, arena, &origin, failure, None);
        }
        self.stats.refuse(events.len());
        self.dead_letters.flush();
    }

    fn stop_if_done(&mut self, ctx: &mut Context<Self>) {
        let mut slots = self.slots.iter();
        let is_done = match self.stopping {
            None => false,
            Some(Stop::Drain) => {
                slots.all(|slot| !slot.is_busy && slot.waiting.is_empty())
                    && self.dead_letters.is_empty()
            }
            // What is not delivered is in the inlet.
            Some(Stop::HandOver) => slots.all(|slot| !slot.is_asking),
        };
        if is_done {
            ctx.stop();
        }
    }
}

fn complete(events: &Consignment) {
    for run in events
        .events
        .chunk_by(|(a, at), (b, next)| Rc::ptr_eq(a, b) && at + 1 == *next)
    {
        let (held, first) = &run[0];
        held.complete(*first..first + run.len());
    }
}

impl Drop for AsyncSinkActor {
    fn drop(&mut self) {
        self.spec.drop_sink(&mut self.sink);
        // An actor that died in a call is not hung.
        self.stats.call.leave();
    }
}

impl Actor for AsyncSinkActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        self.lifeline.started();
        self.try_when_input_is_over(ctx);
    }
}

impl Handler<Deliver> for AsyncSinkActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        let slots = self.slots.len();
        let ended = deliver.shipment().ended();
        let held = Held::new(deliver);
        for index in 0..held.batch().len() {
            if ended.iter().any(|ended| ended.contains(&index)) {
                continue;
            }
            let slot = match slots {
                1 => 0,
                slots => {
                    (KeySelector::SubjectOrSource.hash(&held.batch().event(index)) % slots as u64)
                        as usize
                }
            };
            self.slots[slot]
                .waiting
                .push_back((Rc::clone(&held), index));
        }
        for slot in 0..slots {
            self.deliver(slot, ctx);
        }
    }
}

impl Handler<OutletReady> for AsyncSinkActor {
    type Result = ();

    fn handle(&mut self, _: OutletReady, ctx: &mut Context<Self>) {
        self.dead_letters.flush();
        self.stop_if_done(ctx);
    }
}

impl Handler<Stop> for AsyncSinkActor {
    type Result = ();

    fn handle(&mut self, how: Stop, ctx: &mut Context<Self>) {
        self.stopping = Some(how);
        self.stop_if_done(ctx);
    }
}
