//! One attempt of a lane at one event, and what follows from how it ends: results, another attempt, or a dead letter.

use std::backtrace::Backtrace;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::{ActorContext, ActorFutureExt, AsyncContext, Context};

use crate::dead_letter::{Attempt, Failure, FailureClass};
use crate::guard::{self, Panic};
use crate::handler::{self, HandlerError, LaneHandler, Refusal, Reply};
use crate::lane::HandlerActor;
use crate::output::Destination;

impl HandlerActor {
    /// Tries the current event once.
    pub(crate) fn attempt(&mut self, ctx: &mut Context<Self>) {
        let (Some(work), Some(handler)) = (&self.work, &mut self.handler) else {
            return;
        };
        let index = work.next;
        if work.used_up == Some(index) {
            return self.give_up();
        }
        let call = self.calls.get() + 1;
        self.calls.set(call);
        self.turn_in_slot.call.enter(call, index);
        let batch = work.batch();
        match handler {
            LaneHandler::Sync(handler) => {
                let mark = self.output.mark();
                let mut output = self.output.for_event(batch, index);
                let event = batch.event(index);
                let is_last = self.spec.attempts == 1 || work.last_try == Some(index);
                let attempt = || handler.handle(&event, &mut output);
                match guard::guard_if_last(is_last, "handler", &self.spec.handler, attempt) {
                    Ok(Ok(())) => self.handled(mark.emitted()),
                    Ok(Err(error)) => {
                        self.output.truncate(mark);
                        self.failed(&error, FailureClass::Error, None, ctx);
                    }
                    Err(panic) => {
                        self.output.truncate(mark);
                        self.panicked(panic, ctx);
                    }
                }
            }
            LaneHandler::Async(handler) => {
                let event = batch.event(index);
                match guard::guard("handler", &self.spec.handler, || handler.handle(&event)) {
                    Ok(answer) => {
                        self.is_waiting = true;
                        let asked = Instant::now();
                        let answer = Box::pin(handler::within(self.spec.deadline, answer));
                        let answer = guard::guarded("handler", &self.spec.handler, answer);
                        let answer = self.each_step_is_a_call(answer, index);
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

    /// Lets the watchdog see when a step of the answer does not return.
    fn each_step_is_a_call<F: Future + Unpin>(
        &self,
        mut answer: F,
        index: usize,
    ) -> impl Future<Output = F::Output> + use<F> {
        let (call, calls) = (self.turn_in_slot.call.clone(), self.calls.clone());
        std::future::poll_fn(move |task| {
            calls.set(calls.get() + 1);
            call.enter(calls.get(), index);
            let step = Pin::new(&mut answer).poll(task);
            call.leave();
            step
        })
    }

    fn answered(
        &mut self,
        answer: Result<Result<Reply, HandlerError>, Panic>,
        ctx: &mut Context<Self>,
    ) {
        let Some(work) = &self.work else { return };
        let mark = self.output.mark();
        let written = match answer {
            Ok(Ok(reply)) => self.output.for_event(work.batch(), work.next).reply(reply),
            Ok(Err(error)) => Err(error),
            Err(panic) => return self.panicked(panic, ctx),
        };
        match written {
            Ok(()) => self.handled(mark.emitted()),
            Err(error) => {
                self.output.truncate(mark);
                self.failed(&error, FailureClass::Error, None, ctx);
            }
        }
    }

    /// The current event is handled: counts it, and goes on to the next.
    fn handled(&mut self, emitted_before: usize) {
        let Some(work) = &mut self.work else { return };
        let flags = work.batch().records()[work.next].flags;
        let is_conditional = flags & crate::event::CONDITIONAL != 0;
        let decision = match self.output.take_refusal() {
            None => {
                self.tally.matched += 1;
                self.tally.emitted += self.output.mark().emitted() - emitted_before;
                Destination::Taken
            }
            Some(refusal) => {
                self.tally.filtered += 1;
                self.tally.missing += usize::from(refusal == Refusal::Missing);
                Destination::Refused
            }
        };
        if is_conditional {
            self.output.emit_input(work.batch(), work.next, decision);
        }
        work.next += 1;
        if self.is_probing() {
            self.tell_breaker(0);
        }
    }

    fn panicked(&mut self, panic: Panic, ctx: &mut Context<Self>) {
        self.stats.panics.add(1);
        // The panic itself is logged by its guard, within a rate.
        tracing::debug!(
            handler = &*self.spec.handler,
            lane = self.lane,
            "the handler is built anew"
        );
        let since = Instant::now();
        let broken = self.handler.take();
        // It is logged if this panics too, and what is left of the handler is lost then.
        drop(guard::guard("handler", &self.spec.handler, || drop(broken)));
        match self.build() {
            Ok(handler) => {
                self.handler = Some(handler);
                self.stats.rebuild_time.add(since.elapsed());
            }
            Err(error) => {
                // What was handled is handed on; the rest is the next actor's.
                self.lifeline.fail(error);
                self.is_waiting = true;
                self.commit();
                ctx.terminate();
                return;
            }
        }
        self.failed(
            &HandlerError::retryable(panic.message),
            FailureClass::Panic,
            panic.backtrace,
            ctx,
        );
    }

    /// Tries the event again, at first at once and then after a growing wait, or gives it up.
    fn failed(
        &mut self,
        error: &HandlerError,
        class: FailureClass,
        backtrace: Option<Arc<Backtrace>>,
        ctx: &mut Context<Self>,
    ) {
        let Some(work) = &mut self.work else { return };
        self.stats.errors.add(1);
        let (is_final, class, after) = match error {
            HandlerError::Permanent(_) => (true, class, None),
            HandlerError::Timeout(_) => (false, FailureClass::Timeout, None),
            HandlerError::Retryable { after, .. } => (false, class, *after),
        };
        let attempt = Attempt::failed(class, &error.to_string()).with_backtrace(backtrace);
        let generation = self.turn_in_slot.generation;
        let failures = self
            .slot
            .add_failure_of(generation, work.shipment(), work.next, attempt);
        // Without a count, another actor is in charge, and this one ends at its next commit.
        let Some(failures) = failures else { return };
        if is_final || failures >= self.spec.attempts {
            return self.give_up();
        }
        if failures + 1 == self.spec.attempts {
            work.last_try = Some(work.next);
        }
        self.stats.retries.add(1);
        let wait = match (after, failures) {
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

    /// Makes the current event a dead letter, and goes on to the next.
    fn give_up(&mut self) {
        let Some(work) = &mut self.work else { return };
        let attempts = self.slot.attempts(work.shipment(), work.next);
        let failure = Failure::after(&self.branch, attempts);
        self.tally.dead_lettered += 1;
        let is_conditional =
            work.batch().records()[work.next].flags & crate::event::CONDITIONAL != 0;
        if is_conditional {
            // It has gone a way of its own, so it is not unmatched.
            self.output
                .emit_input(work.batch(), work.next, Destination::Taken);
        }
        self.output.emit_input(
            work.batch(),
            work.next,
            Destination::DeadLetter(Box::new(failure)),
        );
        work.next += 1;
        self.tell_breaker(1);
    }
}
