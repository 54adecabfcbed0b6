//! The handler actor: one lane of a handler's pool, which takes events in order through its handler and recovers in place.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context};

use crate::derive::Deriver;
use crate::handler::{self, LaneHandler};
use crate::lane_breaker::UnderBreaker;
use crate::lane_slot::{LaneSlot, LaneTurn};
use crate::lane_spec::LaneSpec;
use crate::mailbox::{Deliver, OutletReady, Turn};
use crate::output::LaneOutput;
use crate::stats::HandlerStats;
use crate::supervision::{Lifeline, Stop};
use crate::types::TypeCache;
use crate::work::{Tally, Work};

/// Time that a lane works before it hands its results on and lets the others of its thread run.
const TIME_SLICE: Duration = Duration::from_millis(1);
/// Events between two looks at the clock.
const EVENTS_PER_LOOK: usize = 16;
/// Of a call's number, so many bits are counted by each actor for itself.
const CALL_BITS: u32 = 32;

/// One lane of a handler. What must outlive it lies in its slot.
pub struct HandlerActor {
    pub(crate) spec: LaneSpec,
    pub(crate) lane: usize,
    pub(crate) slot: Arc<LaneSlot>,
    /// It is in charge of the slot as long as no other actor has the turn.
    pub(crate) turn_in_slot: LaneTurn,
    pub(crate) handler: Option<LaneHandler>,
    /// Calls of the handler so far. Shared with the call that waits for its answer, of which each step counts as one.
    pub(crate) calls: Rc<Cell<u64>>,
    pub(crate) work: Option<Work>,
    inbox: VecDeque<Deliver>,
    pub(crate) output: LaneOutput,
    pub(crate) tally: Tally,
    pub(crate) breaker: UnderBreaker,
    pub(crate) stats: Arc<HandlerStats>,
    pub(crate) branch: Arc<str>,
    /// An event waits for its next attempt or its answer; nothing else may pass it.
    pub(crate) is_waiting: bool,
    /// What it waits for is the handler's answer.
    pub(crate) is_asking: bool,
    /// It lets others run and goes on by itself. More than one such turn at a time would add up to no turn at all.
    is_yielding: bool,
    stopping: Option<Stop>,
    /// What is handled is to be handed on before the next event.
    pub(crate) must_commit: bool,
    turn: Turn,
    pub(crate) lifeline: Lifeline,
}

impl HandlerActor {
    /// A lane that takes charge of the slot, and builds its handler when it starts.
    pub(crate) fn new(
        spec: LaneSpec,
        lane: usize,
        slot: Arc<LaneSlot>,
        turn_in_slot: LaneTurn,
        lifeline: Lifeline,
        ctx: &Context<Self>,
    ) -> Self {
        slot.take_charge(turn_in_slot.generation, &spec, &ctx.address());
        let types = TypeCache::new(spec.types.clone());
        let deriver = Deriver::new(&spec.service, &spec.handler);
        Self {
            // No two actors' calls have the same number.
            calls: Rc::new(Cell::new(turn_in_slot.generation << CALL_BITS)),
            turn_in_slot,
            slot,
            lane,
            handler: None,
            inbox: VecDeque::new(),
            work: None,
            output: LaneOutput::new(types, deriver, spec.budget.clone()),
            tally: Tally::default(),
            breaker: UnderBreaker::default(),
            stats: spec.registry.handler(&spec.handler),
            branch: format!("handler.{}", spec.handler).into(),
            is_waiting: false,
            is_asking: false,
            is_yielding: false,
            stopping: None,
            must_commit: false,
            turn: Turn::default(),
            lifeline,
            spec,
        }
    }

    pub(crate) fn build(&self) -> Result<LaneHandler, String> {
        handler::build(&self.spec.handler, &*self.spec.factory, self.lane)
    }

    /// Works until there is nothing to do, no room for results, an event to wait for, or the time slice is over.
    pub(crate) fn run(&mut self, ctx: &mut Context<Self>) {
        if self.is_yielding {
            return;
        }
        if self.stopping == Some(Stop::HandOver) {
            return self.stop_if_done(ctx);
        }
        let started = Instant::now();
        let mut looked = 0;
        while !self.is_waiting && self.next_batch() {
            let Some(has_room) = self.has_room() else {
                return self.give_way(ctx);
            };
            if !has_room || !self.is_permitted(ctx) {
                break;
            }
            while !self.is_waiting && !self.must_pause() && self.has_next_event() {
                if looked == EVENTS_PER_LOOK {
                    looked = 0;
                    self.glance_at_breaker();
                    if started.elapsed() > TIME_SLICE {
                        self.is_yielding = true;
                        break;
                    }
                }
                looked += 1;
                self.attempt(ctx);
            }
            self.turn_in_slot.call.leave();
            if !self.commit() {
                return self.give_way(ctx);
            }
            if self.is_yielding {
                self.go_on_later(ctx);
                break;
            }
        }
        self.count_time(started);
        self.stop_if_done(ctx);
    }

    fn go_on_later(&self, ctx: &mut Context<Self>) {
        let others_run = actix::fut::wrap_future::<_, Self>(tokio::task::yield_now());
        ctx.spawn(others_run.map(|(), lane, ctx| {
            lane.is_yielding = false;
            lane.run(ctx);
        }));
    }

    /// Another actor has its place: leaves without a word, whatever it has done in the meantime.
    fn give_way(&mut self, ctx: &mut Context<Self>) {
        tracing::debug!(
            handler = &*self.spec.handler,
            lane = self.lane,
            generation = self.turn_in_slot.generation,
            "a lane that had been replaced came back, and ends"
        );
        self.is_waiting = true;
        self.work = None;
        self.inbox.clear();
        ctx.terminate();
    }

    pub(crate) fn count_time(&self, started: Instant) {
        self.stats.busy_nanoseconds.add_time(started.elapsed());
    }

    /// Whether the outlets take more results; `None` if another actor is in charge of them.
    fn has_room(&self) -> Option<bool> {
        let mut in_charge = self.slot.in_charge(self.turn_in_slot.generation)?;
        Some(in_charge.outlets().have_room())
    }

    /// Whether something comes before the next event.
    fn must_pause(&self) -> bool {
        self.must_commit || self.must_ask()
    }

    fn has_next_event(&self) -> bool {
        self.work.as_ref().is_some_and(|work| !work.is_done())
            && !self.output.is_full()
            && self.slot.is_in_charge(self.turn_in_slot.generation)
    }

    /// Whether there is a batch to work on; fetches the next one.
    fn next_batch(&mut self) -> bool {
        if self.work.is_none()
            && let Some(deliver) = self.inbox.pop_front()
        {
            let mut work = Work::new(deliver);
            if work.is_resent() {
                work.failed = self.slot.failed_before(work.shipment());
            }
            let events = u32::try_from(work.batch().len()).unwrap_or(u32::MAX);
            let waited = work.shipment().sent_at.elapsed();
            self.stats
                .queue_nanoseconds
                .add_time(waited.saturating_mul(events));
            self.work = Some(work);
        }
        self.work.is_some()
    }

    /// Hands the results of all events since the last commit on, and the batch back once it is finished. False if another
    /// actor is in charge, which does it all again.
    pub(crate) fn commit(&mut self) -> bool {
        let Some(work) = &self.work else { return true };
        let Some(mut in_charge) = self.slot.in_charge(self.turn_in_slot.generation) else {
            self.output.clear();
            return false;
        };
        let (mut emitted, arena) = self.output.take();
        let handled = work.commit();
        in_charge.outlets().hand_on(
            work.batch(),
            handled,
            &mut emitted,
            arena.as_ref(),
            &self.spec,
        );
        in_charge.forget_attempts(work.shipment());
        drop(in_charge);
        self.must_commit = false;
        self.output.give_back(emitted);
        let is_done = work.is_done();
        self.tell_breaker(None);
        self.tally.count(&self.stats);
        self.forget_told();
        if is_done && let Some(work) = self.work.take() {
            drop(work.settle());
        }
        true
    }

    fn stop_if_done(&mut self, ctx: &mut Context<Self>) {
        match self.stopping {
            Some(Stop::HandOver) if !self.is_asking => {
                // The rest is in the slot's inlet.
                self.commit();
                return ctx.stop();
            }
            Some(Stop::Drain) if self.work.is_none() && self.inbox.is_empty() => {}
            _ => return,
        }
        let in_charge = self.slot.in_charge(self.turn_in_slot.generation);
        if in_charge.is_none_or(|mut it| it.outlets().are_empty()) {
            ctx.stop();
        }
    }
}

impl Drop for HandlerActor {
    fn drop(&mut self) {
        // An actor that died in a call is not hung.
        self.died();
        self.drop_handler();
    }
}

impl Actor for HandlerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        self.turn_in_slot.call.enter_building(self.calls.get());
        match self.build() {
            Ok(handler) => {
                self.handler = Some(handler);
                self.lifeline.started();
            }
            Err(error) => {
                self.lifeline.fail(error);
                ctx.terminate();
            }
        }
        self.turn_in_slot.call.leave();
    }
}

impl actix::Handler<Deliver> for HandlerActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        if !self.slot.is_in_charge(self.turn_in_slot.generation) {
            // The one that is has got it as well.
            return self.give_way(ctx);
        }
        if deliver.shipment().receive() {
            self.stats.received.add(deliver.shipment().batch.len());
        }
        self.inbox.push_back(deliver);
        if self.work.is_none() {
            self.run(ctx);
        }
    }
}

impl actix::Handler<OutletReady> for HandlerActor {
    type Result = ();

    fn handle(&mut self, ready: OutletReady, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        let in_charge = self.slot.in_charge(self.turn_in_slot.generation);
        let is_in_charge = in_charge.map(|mut it| it.outlets().ready(ready)).is_some();
        if !is_in_charge {
            return self.give_way(ctx);
        }
        if self.work.is_some() {
            self.run(ctx);
        } else {
            self.stop_if_done(ctx);
        }
    }
}

impl actix::Handler<Stop> for HandlerActor {
    type Result = ();

    fn handle(&mut self, how: Stop, ctx: &mut Context<Self>) {
        self.stopping = Some(how);
        self.stop_if_done(ctx);
    }
}
