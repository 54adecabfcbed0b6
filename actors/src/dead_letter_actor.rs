//! The actor that every event ends at that was given up: it counts, logs, keeps and copies dead letters.

use std::sync::Arc;

use actix::prelude::{Actor, ActorContext, AsyncContext, Context, Handler};

use crate::mailbox::{Deliver, Turn};
use crate::stats::Registry;
use crate::supervision::{Lifeline, Stop};

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
                    attempts = failure.attempts.count(),
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
