//! The sink actor of sinks that write at once: appends what comes, flushes when idle or full, then reports it done.

use std::sync::Arc;

use actix::prelude::{Actor, ActorContext, AsyncContext, Context, Handler};

use crate::batch::EventBatch;
use crate::dead_letter::{Failure, FailureClass};
use crate::guard;
use crate::mailbox::{Custody, Deliver, Inlet, OutletReady, Turn};
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
        match guard::guard(|| self.factory.build()) {
            Ok(built) => built,
            Err(panic) => Err(StartError(format!("the factory panicked: {panic}"))),
        }
    }

    pub(crate) fn failure(&self, class: FailureClass, reason: &str, attempts: u32) -> Failure {
        Failure {
            branch: format!("sink.{}", self.name).into(),
            class,
            reason: reason.into(),
            attempts,
        }
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
    batch: EventBatch,
    _custody: Custody,
    /// Events that the sink refused; they went to the dead letters.
    refused: Vec<usize>,
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

    fn append(&mut self, batch: EventBatch, custody: Custody) {
        let mut refused = Vec::new();
        for (index, event) in batch.iter().enumerate() {
            let appended = match guard::guard(|| self.sink.append(&event)) {
                Ok(appended) => appended,
                Err(panic) => Err(format!("the sink panicked: {panic}")),
            };
            if let Err(reason) = appended {
                let failure = self.spec.failure(FailureClass::Rejected, &reason, 1);
                let record = *event.record();
                self.dead_letters.push_failed(
                    record,
                    batch.arena(record.arena),
                    batch.origin(record.origin),
                    failure,
                    None,
                );
                refused.push(index);
            }
        }
        self.held.push(Appended {
            batch,
            _custody: custody,
            refused,
        });
        self.dead_letters.flush();
    }

    fn flush(&mut self, ctx: &mut Context<Self>) {
        let flushed = match guard::guard(|| self.sink.flush()) {
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
    let Appended { batch, refused, .. } = appended;
    stats.deliver(batch.len() - refused.len());
    stats.bytes.add(batch.bytes());
    stats.refuse(refused.len());
    let mut from = 0;
    for refused in refused {
        batch.complete_range(from..*refused);
        from = refused + 1;
    }
    batch.complete_range(from..batch.len());
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

    fn handle(&mut self, mut deliver: Deliver, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        let (batch, _, custody) = deliver.take();
        self.append(batch, custody);
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

    fn handle(&mut self, ready: OutletReady, ctx: &mut Context<Self>) {
        self.dead_letters.ready(ready);
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
