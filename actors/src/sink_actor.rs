//! The sink actor of sinks that write at once: appends what comes, flushes when idle or full, then reports it done.

use std::ops::Range;
use std::sync::Arc;

use actix::prelude::{Actor, ActorContext, AsyncContext, Context, Handler};

use crate::dead_letter::{Attempt, Attempts, Failure, FailureClass};
use crate::guard;
use crate::mailbox::{Deliver, Inlet, OutletReady, Turn};
use crate::outlet::Outlet;
use crate::sink::{AnySink, RetryPolicy, Sink, SinkFactory};
use crate::stats::{Registry, SinkStats};
use crate::supervision::{Lifeline, StartError, Stop, jitter_sample};

/// Buffered bytes at which a sink is flushed though more is coming.
const FLUSH_BYTES: usize = 256 * 1024;

/// What a sink is started with.
#[derive(Clone)]
pub struct SinkSpec {
    /// The sink's name.
    pub name: Arc<str>,
    /// Makes the sink.
    pub factory: Arc<dyn SinkFactory>,
    /// Where dead letters go.
    pub dead_letters: Arc<Inlet>,
    /// The counts.
    pub registry: Arc<Registry>,
}

impl SinkSpec {
    pub(crate) fn build(&self) -> Result<AnySink, StartError> {
        match guard::guard("sink", &self.name, || self.factory.build()) {
            Ok(built) => built,
            Err(panic) => Err(StartError(format!("the factory panicked: {panic}"))),
        }
    }

    pub(crate) fn failure(&self, attempts: Attempts) -> Failure {
        Failure::after(&format!("sink.{}", self.name).into(), attempts)
    }
}

/// Runs a sink that writes at once.
pub struct SinkActor {
    spec: SinkSpec,
    retry: RetryPolicy,
    sink: Box<dyn Sink>,
    stats: Arc<SinkStats>,
    /// Appended and not flushed.
    held: Vec<Appended>,
    dead_letters: Outlet,
    is_flush_due: bool,
    /// Failed flushes in a row; a retry is scheduled while there are any.
    failures: u32,
    is_stopping: bool,
    turn: Turn,
    lifeline: Lifeline,
}

struct Appended {
    deliver: Deliver,
    /// Events of it that the sink refused, now or before it was restarted; they went to the dead letters.
    refused: Vec<Range<usize>>,
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
            sink,
            stats: spec.registry.sink(&spec.name),
            held: Vec::new(),
            dead_letters: Outlet::new(spec.dead_letters.clone(), owner, 0, &spec.registry, None),
            is_flush_due: false,
            failures: 0,
            is_stopping: false,
            turn: Turn::default(),
            lifeline,
            spec,
        }
    }

    fn append(&mut self, deliver: Deliver) {
        let shipment = Arc::clone(deliver.shipment());
        let mut refused = shipment.ended();
        for (index, event) in shipment.batch.iter().enumerate() {
            if refused.iter().any(|refused| refused.contains(&index)) {
                continue;
            }
            let appended = match guard::guard("sink", &self.spec.name, || self.sink.append(&event))
            {
                Ok(appended) => appended,
                Err(panic) => Err(format!("the sink panicked: {panic}")),
            };
            if let Err(reason) = appended {
                let mut attempts = Attempts::default();
                attempts.add(Attempt::failed(FailureClass::Rejected, &reason));
                let failure = self.spec.failure(attempts);
                let record = *event.record();
                let (arena, origin) = (
                    shipment.batch.arena(record.arena),
                    shipment.batch.origin(record.origin),
                );
                self.dead_letters
                    .push_failed(record, arena, origin, failure, None);
                self.stats.refuse(1);
                shipment.end(index..index + 1);
                refused.push(index..index + 1);
            }
        }
        refused.sort_by_key(|events| events.start);
        self.held.push(Appended { deliver, refused });
        self.dead_letters.flush();
    }

    fn flush(&mut self, ctx: &mut Context<Self>) {
        let flushed = match guard::guard("sink", &self.spec.name, || self.sink.flush()) {
            Ok(flushed) => flushed,
            Err(panic) => Err(format!("the sink panicked: {panic}")),
        };
        match flushed {
            Ok(()) => {
                self.failures = 0;
                for appended in self.held.drain(..) {
                    settle(&appended, &self.stats);
                }
                self.stop_if_done(ctx);
            }
            Err(reason) => {
                self.stats.errors.add(1);
                self.failures += 1;
                let wait = self.retry.backoff.wait(self.failures, jitter_sample());
                tracing::warn!(
                    sink = &*self.spec.name,
                    reason,
                    ?wait,
                    "cannot write, trying again"
                );
                ctx.run_later(wait, |actor, ctx| {
                    actor.stats.retries.add(1);
                    actor.flush(ctx);
                });
            }
        }
    }

    fn stop_if_done(&mut self, ctx: &mut Context<Self>) {
        if self.is_stopping && self.held.is_empty() && self.dead_letters.is_empty() {
            ctx.stop();
        }
    }
}

/// Reports what was flushed as delivered and done.
fn settle(appended: &Appended, stats: &SinkStats) {
    let Appended { deliver, refused } = appended;
    let batch = &deliver.shipment().batch;
    let refused_events: usize = refused.iter().map(ExactSizeIterator::len).sum();
    stats.deliver(batch.len() - refused_events);
    stats.bytes.add(batch.bytes());
    let mut from = 0;
    for refused in refused {
        batch.complete_range(from..refused.start);
        from = refused.end;
    }
    batch.complete_range(from..batch.len());
    drop(deliver.settle());
}

impl Actor for SinkActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        self.lifeline.started();
    }
}

impl Handler<Deliver> for SinkActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        self.append(deliver);
        if self.failures > 0 {
            return;
        }
        if self.sink.buffered_bytes() >= FLUSH_BYTES {
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

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.is_stopping = true;
        self.stop_if_done(ctx);
    }
}
