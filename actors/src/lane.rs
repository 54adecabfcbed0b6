//! The handler actor: one lane of a handler's pool, which takes events in order through its handler and recovers in place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context};
use futures::FutureExt;

use crate::dead_letter::{Failure, FailureClass};
use crate::derive::Deriver;
use crate::guard;
use crate::handler::{self, HandlerError, LaneHandler, Refusal, Reply};
use crate::lane_outlets::LaneOutlets;
use crate::lane_spec::LaneSpec;
use crate::mailbox::{Deliver, OutletReady, Turn};
use crate::output::{Destination, LaneOutput};
use crate::stats::HandlerStats;
use crate::supervision::{Lifeline, Stop};
use crate::types::TypeCache;
use crate::work::Work;

/// Time that a lane works before it hands its results on and lets the others of its thread run.
const TIME_SLICE: Duration = Duration::from_millis(1);
/// Events between two looks at the clock.
const EVENTS_PER_LOOK: usize = 16;

/// One lane of a handler.
pub struct HandlerActor {
    spec: LaneSpec,
    lane: usize,
    handler: Option<LaneHandler>,
    outlets: LaneOutlets,
    // Before the inbox: when the lane ends, what is left goes back to the inlet in this order.
    work: Option<Work>,
    inbox: VecDeque<Deliver>,
    output: LaneOutput,
    stats: Arc<HandlerStats>,
    branch: Arc<str>,
    /// An event waits for its next attempt or its answer; nothing else may pass it.
    is_waiting: bool,
    /// It lets others run and goes on by itself. More than one such turn at a time would add up to no turn at all.
    is_yielding: bool,
    /// It has no handler and cannot get one: it ends once its results have left it.
    is_broken: bool,
    is_stopping: bool,
    turn: Turn,
    lifeline: Lifeline,
}

impl HandlerActor {
    /// A lane that builds its handler when it starts.
    pub fn new(spec: LaneSpec, lane: usize, lifeline: Lifeline, ctx: &Context<Self>) -> Self {
        let types = TypeCache::new(spec.types.clone());
        let deriver = Deriver::new(&spec.service, &spec.handler);
        Self {
            lane,
            handler: None,
            outlets: LaneOutlets::new(&spec, &ctx.address().recipient()),
            inbox: VecDeque::new(),
            work: None,
            output: LaneOutput::new(types, deriver, spec.budget.clone()),
            stats: spec.registry.handler(&spec.handler),
            branch: format!("handler.{}", spec.handler).into(),
            is_waiting: false,
            is_yielding: false,
            is_broken: false,
            is_stopping: false,
            turn: Turn::default(),
            lifeline,
            spec,
        }
    }

    fn build(&self) -> Result<LaneHandler, String> {
        match guard::guard(|| self.spec.factory.build(self.lane)) {
            Ok(Ok(handler)) => Ok(handler),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(format!("the factory panicked: {panic}")),
        }
    }

    /// Works until there is nothing to do, no room for results, an event to wait for, or the time slice is over.
    fn run(&mut self, ctx: &mut Context<Self>) {
        if self.is_yielding {
            return;
        }
        let started = Instant::now();
        let mut looked = 0;
        while !self.is_waiting && self.next_batch() {
            if !self.outlets.have_room() {
                break;
            }
            let batch_len = self.work.as_ref().map_or(0, |work| work.batch().len());
            while !self.is_waiting && !self.output.is_full() && self.next_event() < batch_len {
                if looked == EVENTS_PER_LOOK {
                    looked = 0;
                    if started.elapsed() > TIME_SLICE {
                        self.commit();
                        self.is_yielding = true;
                        ctx.spawn(
                            actix::fut::wrap_future::<_, Self>(tokio::task::yield_now()).map(
                                |(), lane, ctx| {
                                    lane.is_yielding = false;
                                    lane.run(ctx);
                                },
                            ),
                        );
                        self.count_time(started);
                        return;
                    }
                }
                looked += 1;
                self.attempt(ctx);
            }
            self.commit();
        }
        self.count_time(started);
        self.stop_if_done(ctx);
    }

    fn count_time(&self, started: Instant) {
        self.stats.busy_nanoseconds.add_time(started.elapsed());
    }

    fn next_event(&self) -> usize {
        self.work.as_ref().map_or(usize::MAX, |work| work.next)
    }

    /// Whether there is a batch with events left; fetches the next one.
    fn next_batch(&mut self) -> bool {
        if self.work.is_none() {
            self.work = self.inbox.pop_front().map(Work::new);
            if let Some(work) = &self.work {
                let events = u32::try_from(work.batch().len()).unwrap_or(u32::MAX);
                let waited = work.sent_at().elapsed();
                self.stats
                    .queue_nanoseconds
                    .add_time(waited.saturating_mul(events));
            }
        }
        self.work.is_some()
    }

    /// Tries the current event once.
    fn attempt(&mut self, ctx: &mut Context<Self>) {
        let (Some(work), Some(handler)) = (&self.work, &mut self.handler) else {
            return;
        };
        let (batch, index) = (work.batch(), work.next);
        match handler {
            LaneHandler::Sync(handler) => {
                let mark = self.output.mark();
                let mut output = self.output.for_event(batch, index);
                let event = batch.event(index);
                match guard::guard(|| handler.handle(&event, &mut output)) {
                    Ok(Ok(())) => self.handled(mark.emitted()),
                    Ok(Err(error)) => {
                        self.output.truncate(mark);
                        self.failed(&error, FailureClass::Error, ctx);
                    }
                    Err(panic) => {
                        self.output.truncate(mark);
                        self.panicked(panic, ctx);
                    }
                }
            }
            LaneHandler::Async(handler) => {
                let event = batch.event(index);
                match guard::guard(|| handler.handle(&event)) {
                    Ok(answer) => {
                        self.is_waiting = true;
                        let asked = Instant::now();
                        let answer = handler::within(self.spec.deadline, answer);
                        let answer = std::panic::AssertUnwindSafe(answer).catch_unwind();
                        ctx.spawn(actix::fut::wrap_future::<_, Self>(answer).map(
                            move |answer, lane, ctx| {
                                lane.is_waiting = false;
                                lane.count_time(asked);
                                lane.answered(answer, ctx);
                                lane.run(ctx);
                            },
                        ));
                    }
                    Err(panic) => self.panicked(panic, ctx),
                }
            }
        }
    }

    fn answered(
        &mut self,
        answer: std::thread::Result<Result<Reply, HandlerError>>,
        ctx: &mut Context<Self>,
    ) {
        let Some(work) = &self.work else { return };
        let mark = self.output.mark();
        let written = match answer {
            Ok(Ok(reply)) => self.output.for_event(work.batch(), work.next).reply(reply),
            Ok(Err(error)) => Err(error),
            Err(panic) => return self.panicked(guard::message(&*panic), ctx),
        };
        match written {
            Ok(()) => self.handled(mark.emitted()),
            Err(error) => {
                self.output.truncate(mark);
                self.failed(&error, FailureClass::Error, ctx);
            }
        }
    }

    /// The current event is handled: counts it, and goes on to the next.
    fn handled(&mut self, emitted_before: usize) {
        let Some(work) = &mut self.work else { return };
        let record = work.batch().records()[work.next];
        let is_conditional = record.flags & crate::event::CONDITIONAL != 0;
        let origin = work.batch().origin(record.origin);
        match self.output.take_refusal() {
            None => {
                self.stats.matched.add(1);
                self.stats
                    .emitted
                    .add(self.output.mark().emitted() - emitted_before);
                if is_conditional {
                    origin.take(record.index);
                }
            }
            Some(refusal) => {
                self.stats.filtered.add(1);
                if refusal == Refusal::Missing {
                    self.stats.missing.add(1);
                }
                if is_conditional && origin.refuse(record.index) {
                    self.output
                        .emit_input(work.batch(), work.next, Destination::Unmatched);
                }
            }
        }
        work.next += 1;
        work.failures = 0;
    }

    fn panicked(&mut self, panic: String, ctx: &mut Context<Self>) {
        self.stats.panics.add(1);
        tracing::warn!(
            handler = &*self.spec.handler,
            lane = self.lane,
            panic,
            "the handler panicked and is built anew"
        );
        self.handler = None;
        match self.build() {
            Ok(handler) => self.handler = Some(handler),
            Err(error) => {
                self.lifeline.fail(error);
                // Nothing is tried any more. What was handled is handed on; the rest waits for the next actor.
                self.is_waiting = true;
                self.is_broken = true;
                self.commit();
                self.stop_if_done(ctx);
                return;
            }
        }
        self.failed(&HandlerError::retryable(panic), FailureClass::Panic, ctx);
    }

    /// Tries the event again, at first at once and then after a growing wait, or gives it up.
    fn failed(&mut self, error: &HandlerError, class: FailureClass, ctx: &mut Context<Self>) {
        let Some(work) = &mut self.work else { return };
        self.stats.errors.add(1);
        work.failures += 1;
        let (is_final, class, after) = match error {
            HandlerError::Permanent(_) => (true, class, None),
            HandlerError::Timeout(_) => (false, FailureClass::Timeout, None),
            HandlerError::Retryable { after, .. } => (false, class, *after),
        };
        if is_final || work.failures >= self.spec.attempts {
            let failure = Failure {
                branch: self.branch.clone(),
                class,
                reason: error.to_string().into(),
                attempts: work.failures,
            };
            self.stats.dead_lettered.add(1);
            let record = work.batch().records()[work.next];
            if record.flags & crate::event::CONDITIONAL != 0 {
                // It has gone a way of its own, so it is not unmatched.
                work.batch().origin(record.origin).take(record.index);
            }
            self.output.emit_input(
                work.batch(),
                work.next,
                Destination::DeadLetter(Box::new(failure)),
            );
            work.next += 1;
            work.failures = 0;
            return;
        }
        self.stats.retries.add(1);
        let wait = match (after, work.failures) {
            (Some(after), _) => after,
            (None, 1) => return,
            (None, failures) => self
                .spec
                .backoff
                .wait(failures - 1, crate::supervision::jitter_sample()),
        };
        self.is_waiting = true;
        ctx.run_later(wait, |lane, ctx| {
            lane.is_waiting = false;
            lane.run(ctx);
        });
    }

    /// Hands the results of all events since the last commit on, and the batch back once it is finished.
    fn commit(&mut self) {
        let Some(work) = &mut self.work else { return };
        let (mut emitted, arena) = self.output.take();
        let handled = work.commit();
        self.outlets.hand_on(
            work.batch(),
            handled,
            &mut emitted,
            arena.as_ref(),
            &self.spec,
        );
        self.output.give_back(emitted);
        if work.next >= work.batch().len() {
            self.work = None;
        }
    }

    fn stop_if_done(&mut self, ctx: &mut Context<Self>) {
        if self.is_broken && self.outlets.are_empty() {
            ctx.terminate();
            return;
        }
        let is_idle = self.work.is_none() && self.inbox.is_empty();
        if self.is_stopping && is_idle && self.outlets.are_empty() {
            ctx.stop();
        }
    }
}

impl Actor for HandlerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
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
    }
}

impl actix::Handler<Deliver> for HandlerActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        self.stats.received.add(deliver.batch.len());
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
        self.outlets.ready(ready);
        if self.work.is_some() {
            self.run(ctx);
        } else {
            self.stop_if_done(ctx);
        }
    }
}

impl actix::Handler<Stop> for HandlerActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.is_stopping = true;
        self.stop_if_done(ctx);
    }
}
