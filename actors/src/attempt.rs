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

/// Why an attempt failed that its actor did not survive.
const DIED: &str = "the handler's actor died of it";

impl HandlerActor {
    /// Tries the current event once.
    pub(crate) fn attempt(&mut self, ctx: &mut Context<Self>) {
        let (Some(work), Some(handler)) = (&self.work, &mut self.handler) else {
            return;
        };
        let (index, failures) = (work.next, work.failures());
        if failures >= self.spec.attempts {
            // A lost predecessor has used its attempts up.
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
                let is_last = failures + 1 == self.spec.attempts;
                let attempt = || handler.handle(&event, &mut output);
                match guard::guard_if_last(is_last, "handler", &self.spec.handler, attempt) {
                    Ok(Ok(())) => self.handled(mark.emitted()),
                    Ok(Err(error)) => {
                        self.output.truncate(mark);
                        self.failed(&error, ctx);
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
                        self.is_asking = true;
                        let asked = Instant::now();
                        let answer = Box::pin(handler::within(self.spec.deadline, answer));
                        let answer = guard::guarded("handler", &self.spec.handler, answer);
                        let answer = self.each_step_is_a_call(answer, index);
                        ctx.spawn(actix::fut::wrap_future::<_, Self>(answer).map(
                            move |answer, lane, ctx| {
                                lane.is_waiting = false;
                                lane.is_asking = false;
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
                self.failed(&error, ctx);
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
        // The slot remembers the attempts at one event only: this one's go with the commit, before another one fails.
        self.must_commit |= work.failures() > 0;
        work.next += 1;
        if self.is_probing() {
            self.tell_breaker(None);
        }
    }

    /// Counts the attempt and builds the handler anew.
    fn panicked(&mut self, panic: Panic, ctx: &mut Context<Self>) {
        self.stats.panics.add(1);
        let error = HandlerError::retryable(panic.message);
        let failures = self.count_failure(&error, FailureClass::Panic, panic.backtrace);
        // The panic itself is logged by its guard, within a rate.
        tracing::debug!(
            handler = &*self.spec.handler,
            lane = self.lane,
            "the handler is built anew"
        );
        let since = Instant::now();
        self.enter_call();
        self.drop_handler();
        let built = self.build();
        self.turn_in_slot.call.leave();
        match built {
            Ok(handler) => {
                self.handler = Some(handler);
                self.stats.rebuild_time.add(since.elapsed());
                self.go_on_after(&error, failures, ctx);
            }
            Err(error) => {
                // What was handled is handed on; the rest is the next actor's.
                self.lifeline.fail(error);
                self.is_waiting = true;
                self.commit();
                ctx.terminate();
            }
        }
    }

    /// Lets the watchdog see that code of the handler runs for the current event.
    fn enter_call(&self) {
        let index = self.work.as_ref().map_or(0, |work| work.next);
        self.calls.set(self.calls.get() + 1);
        self.turn_in_slot.call.enter(self.calls.get(), index);
    }

    /// Counts the attempt at the event in whose call the actor dies.
    pub(crate) fn died(&mut self) {
        if self
            .turn_in_slot
            .call
            .get()
            .is_some_and(|call| call.index.is_some())
        {
            let error = HandlerError::retryable(DIED);
            self.count_failure(&error, FailureClass::Panic, None);
        }
        self.turn_in_slot.call.leave();
    }

    /// Drops the handler. It is logged if that panics; what is left of the handler is lost then.
    pub(crate) fn drop_handler(&mut self) {
        let handler = self.handler.take();
        drop(guard::guard("handler", &self.spec.handler, || {
            drop(handler)
        }));
    }

    fn failed(&mut self, error: &HandlerError, ctx: &mut Context<Self>) {
        let failures = self.count_failure(error, FailureClass::Error, None);
        self.go_on_after(error, failures, ctx);
    }

    /// Counts a failed attempt at the current event; nothing if another actor is in charge, as this one learns at its next
    /// commit.
    fn count_failure(
        &mut self,
        error: &HandlerError,
        class: FailureClass,
        backtrace: Option<Arc<Backtrace>>,
    ) -> Option<u32> {
        let work = self.work.as_mut()?;
        self.stats.errors.add(1);
        let class = match error {
            HandlerError::Timeout(_) => FailureClass::Timeout,
            _ => class,
        };
        let attempt = Attempt::failed(class, &error.to_string()).with_backtrace(backtrace);
        let generation = self.turn_in_slot.generation;
        let failures = self
            .slot
            .add_failure_of(generation, work.shipment(), work.next, attempt)?;
        work.failed = Some((work.next, failures));
        Some(failures)
    }

    /// Has the event tried again, at first at once and then after a growing wait, or gives it up.
    fn go_on_after(
        &mut self,
        error: &HandlerError,
        failures: Option<u32>,
        ctx: &mut Context<Self>,
    ) {
        let Some(failures) = failures else { return };
        let is_final = matches!(error, HandlerError::Permanent(_));
        if is_final || failures >= self.spec.attempts {
            return self.give_up();
        }
        self.stats.retries.add(1);
        let wait = match (error, failures) {
            (
                HandlerError::Retryable {
                    after: Some(after), ..
                },
                _,
            ) => *after,
            (_, 1) => return,
            (_, failures) => self
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
        let attempts = failure.attempts.count();
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
        self.must_commit = true;
        self.tell_breaker(Some(attempts));
    }
}
