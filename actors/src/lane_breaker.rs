//! A lane under its handler's breaker: asks before it handles events, tells how they went, and waits while the handler is paused.

use std::time::{Duration, Instant};

use actix::prelude::{ActorFutureExt, AsyncContext, Context};
use futures::FutureExt;

use crate::actor_status::ActorState;
use crate::breaker::{BREAKER_PAUSE_MAX, Change, Outcomes, Permit};
use crate::lane::HandlerActor;

/// What a lane has to do with the breaker.
#[derive(Debug, Default)]
pub(crate) struct UnderBreaker {
    /// The next event that is handled or given up decides whether the handler goes on.
    is_probing: bool,
    /// The breaker may have changed: to be asked before the next event.
    must_ask: bool,
    /// Handled events of the current tally that the breaker knows of.
    counted: usize,
}

impl HandlerActor {
    /// Whether events may be handled. If not, the lane waits, and goes on by itself.
    pub(crate) fn is_permitted(&mut self, ctx: &mut Context<Self>) -> bool {
        self.breaker.must_ask = false;
        let Some(breaker) = &self.spec.breaker else {
            return true;
        };
        if breaker.is_closed() {
            return true;
        }
        if self.spec.registry.keeps_what_is_left() {
            // To try it would be to make dead letters of events that the next start has in better times.
            self.keep(ctx);
            return false;
        }
        // What ends otherwise does not wait for better times, nor does a handler that the config has no more.
        let is_over = || self.spec.registry.is_input_over() || self.slot.is_leaving();
        if self.breaker.is_probing || is_over() {
            return true;
        }
        match breaker.permit(Instant::now()) {
            Permit::All => true,
            Permit::Probe => {
                self.breaker.is_probing = true;
                true
            }
            Permit::None(time) => {
                self.pause(time, ctx);
                false
            }
        }
    }

    /// Whether the lane has to ask before the next event.
    pub(crate) fn must_ask(&self) -> bool {
        self.breaker.must_ask
    }

    /// Looks whether another lane has opened the breaker.
    pub(crate) fn glance_at_breaker(&mut self) {
        let is_closed = self.spec.breaker.as_ref().is_none_or(|it| it.is_closed());
        self.breaker.must_ask |= !is_closed && !self.breaker.is_probing;
    }

    /// Tells the breaker of what was handled since it was told last, and of a dead letter after so many attempts.
    pub(crate) fn tell_breaker(&mut self, dead_letter: Option<u32>) {
        let Some(breaker) = &self.spec.breaker else {
            return;
        };
        if !self.slot.is_in_charge(self.turn_in_slot.generation) {
            // It was replaced, and what it has to say is out of date.
            return;
        }
        let handled = self.tally.matched - self.breaker.counted;
        self.breaker.counted = self.tally.matched;
        if handled == 0 && dead_letter.is_none() {
            return;
        }
        let now = Instant::now();
        let change = match self.breaker.is_probing {
            true => {
                self.breaker.is_probing = false;
                breaker.probed(now, dead_letter.is_none())
            }
            false => {
                let outcomes = Outcomes {
                    handled: handled as u64,
                    dead_letters: dead_letter.is_some().into(),
                    attempts: dead_letter.unwrap_or_default().into(),
                };
                breaker.count(now, outcomes)
            }
        };
        let handler = &*self.spec.handler;
        match change {
            Change::Nothing => {}
            Change::Opened(pause) => {
                self.stats.pauses.add(1);
                self.breaker.must_ask = true;
                tracing::error!(
                    handler,
                    ?pause,
                    "too many of the handler's events fail, it is paused; its events wait"
                );
            }
            Change::Closed => tracing::info!(handler, "the handler goes on"),
        }
    }

    /// The tally starts over.
    pub(crate) fn forget_told(&mut self) {
        self.breaker.counted = 0;
    }

    /// Whether the event at hand is a probe, which has to be told of as soon as it is handled.
    pub(crate) fn is_probing(&self) -> bool {
        self.breaker.is_probing
    }

    fn pause(&mut self, time: Duration, ctx: &mut Context<Self>) {
        let Some(breaker) = self.spec.breaker.clone() else {
            return;
        };
        let registry = self.spec.registry.clone();
        let over = async move {
            futures::select_biased! {
                () = breaker.wait(time).fuse() => {}
                () = registry.input_over().fuse() => {}
            }
        };
        self.wait_until(over, ctx);
    }

    /// Leaves the events for the next start, unless the handler goes on after all, or there are some that would be lost.
    fn keep(&mut self, ctx: &mut Context<Self>) {
        let Some(breaker) = self.spec.breaker.clone() else {
            return;
        };
        let registry = self.spec.registry.clone();
        let over = async move {
            futures::select_biased! {
                () = breaker.wait(BREAKER_PAUSE_MAX).fuse() => {}
                () = registry.in_flight.some_in_memory_only().fuse() => {}
            }
        };
        self.wait_until(over, ctx);
    }

    fn wait_until(&mut self, over: impl Future<Output = ()> + 'static, ctx: &mut Context<Self>) {
        self.is_waiting = true;
        let status = self.lifeline.status();
        status.change(ActorState::Running, ActorState::Paused);
        ctx.spawn(
            actix::fut::wrap_future::<_, Self>(over).map(|(), lane, ctx| {
                if lane.slot.is_in_charge(lane.turn_in_slot.generation) {
                    let status = lane.lifeline.status();
                    status.change(ActorState::Paused, ActorState::Running);
                }
                lane.is_waiting = false;
                lane.run(ctx);
            }),
        );
    }
}
