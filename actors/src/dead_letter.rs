//! Events that were given up, and the actor that accounts for them.

use std::sync::Arc;

use actix::prelude::{Actor, ActorContext, AsyncContext, Context, Handler};

use crate::mailbox::{Deliver, Turn};
use crate::stats::Registry;
use crate::supervision::{Lifeline, Stop};

/// What kind of failure made an event a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    /// The handler panicked.
    Panic,
    /// The handler reported an error.
    Error,
    /// The receiver did not answer in time.
    Timeout,
    /// The receiver refused the event for good.
    Rejected,
    /// No handler wants the event.
    Unroutable,
    /// A result was too long.
    Oversize,
    /// The event went through the router too often.
    Loop,
}

impl FailureClass {
    /// The word used in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::Unroutable => "unroutable",
            Self::Oversize => "oversize",
            Self::Loop => "loop",
        }
    }
}

/// Why one event was given up, and by which branch.
#[derive(Clone, Debug)]
pub struct Failure {
    /// `handler.NAME`, `sink.NAME` or `router`.
    pub branch: Arc<str>,
    /// The kind of failure.
    pub class: FailureClass,
    /// The error's or the panic's message.
    pub reason: Arc<str>,
    /// How often it was tried.
    pub attempts: u32,
}

/// Dead letters that are logged one by one each second; beyond, only counted.
const LOGGED_PER_SECOND_MAX: u32 = 10;

/// Takes all dead letters: counts them, and logs each within a rate.
#[derive(Debug)]
pub struct DeadLetterActor {
    registry: Arc<Registry>,
    turn: Turn,
    logged: u32,
    second: std::time::Instant,
    lifeline: Lifeline,
}

impl DeadLetterActor {
    /// The actor; `lifeline` tells its supervisor of its end.
    pub fn new(registry: Arc<Registry>, lifeline: Lifeline) -> Self {
        Self {
            registry,
            turn: Turn::default(),
            logged: 0,
            second: std::time::Instant::now(),
            lifeline,
        }
    }

    fn may_log(&mut self) -> bool {
        if self.second.elapsed().as_secs() >= 1 {
            self.second = std::time::Instant::now();
            self.logged = 0;
        }
        self.logged += 1;
        self.logged <= LOGGED_PER_SECOND_MAX
    }
}

impl Actor for DeadLetterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        self.lifeline.started();
    }
}

impl Handler<Deliver> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        let shipment = deliver.shipment();
        for (event, failure) in shipment.batch.iter().zip(&shipment.failures) {
            self.registry
                .dead_letter(&failure.branch, failure.class.as_str());
            if self.may_log() {
                tracing::warn!(
                    branch = &*failure.branch,
                    class = failure.class.as_str(),
                    reason = &*failure.reason,
                    attempts = failure.attempts,
                    id = &*event.id(),
                    source = &*event.source(),
                    r#type = &*event.event_type(),
                    "dead letter",
                );
            }
        }
        shipment.batch.complete();
        drop(deliver.settle());
    }
}

impl Handler<Stop> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
