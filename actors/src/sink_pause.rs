//! A sink whose receiver takes nothing from it until somebody mends something: one delivery tries now and then, the others wait.

use std::time::Duration;

use actix::prelude::{ActorFutureExt, AsyncContext, Context, SpawnHandle};

use crate::actor_status::ActorState;
use crate::async_sink_actor::AsyncSinkActor;
use crate::sink::Consignment;
use crate::supervision::{Backoff, jitter_sample};

/// The first wait of a paused sink.
pub const SINK_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest one, unless the receiver asks for more.
pub const SINK_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Doubles with each attempt that is turned away.
const PACE: Backoff = Backoff {
    min: SINK_PAUSE_MIN,
    max: SINK_PAUSE_MAX,
    jitter: 0.2,
};

/// A pause under way.
#[derive(Debug)]
pub(crate) struct Pause {
    /// The slot whose delivery tries.
    slot: usize,
    /// Attempts that were turned away.
    attempts: u32,
    /// The wait before the next one.
    timer: SpawnHandle,
}

impl AsyncSinkActor {
    /// Whether the slot's deliveries wait for that of another one.
    pub(crate) fn is_held_up(&self, number: usize) -> bool {
        self.pause
            .as_ref()
            .is_some_and(|pause| pause.slot != number)
    }

    /// The receiver turned the slot's delivery away, whatever it was.
    pub(crate) fn blocked(
        &mut self,
        number: usize,
        events: Consignment,
        reason: &str,
        after: Option<Duration>,
        ctx: &mut Context<Self>,
    ) {
        self.slots[number].parked = Some(events);
        let attempts = match &self.pause {
            // It was under way when the pause began, and waits for its end like the others.
            Some(pause) if pause.slot != number => return,
            Some(pause) => pause.attempts + 1,
            None => 1,
        };
        let wait = PACE
            .wait(attempts, jitter_sample())
            .max(after.unwrap_or_default());
        if attempts.is_power_of_two() {
            tracing::warn!(
                sink = &*self.spec.name,
                reason,
                ?wait,
                attempts,
                "the receiver takes nothing from the sink, it is paused; its events wait"
            );
        }
        let status = self.lifeline.status();
        status.change(ActorState::Running, ActorState::Paused);
        if attempts == 1 {
            status.failed(reason.to_owned());
        }
        let timer = ctx.run_later(wait, |actor, ctx| actor.try_paused(ctx));
        self.pause = Some(Pause {
            slot: number,
            attempts,
            timer,
        });
    }

    /// Has the paused delivery tried now.
    fn try_paused(&mut self, ctx: &mut Context<Self>) {
        let Some(pause) = &self.pause else { return };
        ctx.cancel_future(pause.timer);
        let number = pause.slot;
        if let Some(events) = self.slots[number].parked.take() {
            self.stats.retries.add(1);
            self.slots[number].restart_time();
            self.attempt(number, events, ctx);
        }
    }

    /// The slot's delivery came to an end that does not concern the whole sink; if the others wait for it, they go on.
    pub(crate) fn unblock(&mut self, number: usize, ctx: &mut Context<Self>) {
        if self.pause.is_none() || self.is_held_up(number) {
            return;
        }
        self.pause = None;
        let status = self.lifeline.status();
        status.change(ActorState::Paused, ActorState::Running);
        tracing::info!(sink = &*self.spec.name, "the sink goes on");
        for number in 0..self.slots.len() {
            match self.slots[number].parked.take() {
                Some(events) => {
                    self.stats.retries.add(1);
                    self.slots[number].restart_time();
                    self.attempt(number, events, ctx);
                }
                None => self.deliver(number, ctx),
            }
        }
    }

    /// Tries at once when no source takes in any more: a drain does not wait for better times.
    pub(crate) fn try_when_input_is_over(&mut self, ctx: &mut Context<Self>) {
        let registry = self.spec.registry.clone();
        let over = async move { registry.input_over().await };
        ctx.spawn(
            actix::fut::wrap_future::<_, Self>(over).map(|(), actor, ctx| actor.try_paused(ctx)),
        );
    }
}
