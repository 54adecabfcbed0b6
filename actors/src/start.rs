//! Starts each kind of actor on its arbiter and puts it behind its inlet: what the factories of child specs call.

use std::sync::Arc;

use actix::prelude::{Actor, Recipient};
use actix_rt::ArbiterHandle;

use crate::async_sink_actor::AsyncSinkActor;
use crate::dead_letter_actor::{DeadLetterActor, DeadLetterSpec};
use crate::journal_actor::{JournalActor, JournalSpec};
use crate::lane::HandlerActor;
use crate::lane_slot::LaneSlot;
use crate::lane_spec::LaneSpec;
use crate::mailbox::Inlet;
use crate::overflow_actor::OverflowActor;
use crate::overflow_log::OverflowSpec;
use crate::router::RouterActor;
use crate::router_place::RouterPlace;
use crate::sink::AnySink;
use crate::sink_actor::SinkActor;
use crate::sink_spec::SinkSpec;
use crate::source::SourceSpec;
use crate::source_actor::SourceActor;
use crate::supervision::{Lifeline, Stop, Supervisor};

/// Opens the store of dead letters and starts its actor.
pub fn start_dead_letters(
    spec: DeadLetterSpec,
    inlet: Arc<Inlet>,
    arbiter: &ArbiterHandle,
    mut lifeline: Lifeline,
) {
    lifeline.status().receives_at(&inlet);
    on(arbiter, move || {
        // What the one before it kept is kept on.
        let store = spec.desk.take().map_or_else(|| (spec.open)(), Ok);
        match store {
            Ok(store) => {
                let actor =
                    DeadLetterActor::create(|ctx| DeadLetterActor::new(spec, store, lifeline, ctx));
                inlet.open(actor.recipient());
            }
            Err(error) => lifeline.fail(error.to_string()),
        }
    });
}

/// Opens the journal and starts its actor.
pub fn start_journal(
    spec: JournalSpec,
    inlet: Arc<Inlet>,
    arbiter: &ArbiterHandle,
    mut lifeline: Lifeline,
) {
    lifeline.status().receives_at(&inlet);
    on(arbiter, move || match spec.factory.open() {
        Ok(opened) => {
            let actor = JournalActor::create(|ctx| {
                JournalActor::new(spec, opened, inlet.clone(), lifeline, ctx)
            });
            inlet.open(actor.recipient());
        }
        Err(error) => lifeline.fail(error.to_string()),
    });
}

/// Starts the actor of a sink's overflow log.
pub fn start_overflow(spec: OverflowSpec, arbiter: &ArbiterHandle, lifeline: Lifeline) {
    let inlet = spec.spillway.overflow.clone();
    lifeline.status().receives_at(&inlet);
    on(arbiter, move || {
        let actor = OverflowActor::create(|ctx| OverflowActor::new(spec, lifeline, ctx));
        inlet.open(actor.recipient());
    });
}

/// Starts one lane of a handler on the slot's thread, and puts it in charge of the slot.
pub fn start_lane(spec: LaneSpec, lane: usize, slot: &Arc<LaneSlot>, lifeline: Lifeline) {
    lifeline.status().receives_at(slot.inlet());
    let (worker, turn) = slot.next_turn(lifeline.handle());
    let slot = Arc::clone(slot);
    on(worker.arbiter(), move || {
        // The thread may have hung in the meantime, and the lane been started elsewhere.
        if slot.is_in_charge(turn.generation) {
            HandlerActor::create(|ctx| HandlerActor::new(spec, lane, slot, turn, lifeline, ctx));
        }
    });
}

/// Starts the router.
pub fn start_router(
    place: Arc<RouterPlace>,
    inlet: Arc<Inlet>,
    arbiter: &ArbiterHandle,
    lifeline: Lifeline,
) {
    lifeline.status().receives_at(&inlet);
    on(arbiter, move || {
        let actor = RouterActor::create(|ctx| RouterActor::new(place.spec(), lifeline, ctx));
        place.fill(actor.clone().recipient());
        inlet.open(actor.recipient());
    });
}

/// Starts a source.
pub fn start_source(spec: SourceSpec, arbiter: &ArbiterHandle, lifeline: Lifeline) {
    on(arbiter, move || {
        SourceActor::create(|ctx| SourceActor::new(spec, lifeline, ctx));
    });
}

/// Builds a sink and starts its actor.
pub fn start_sink(
    spec: SinkSpec,
    inlet: Arc<Inlet>,
    arbiter: &ArbiterHandle,
    mut lifeline: Lifeline,
) {
    lifeline.status().receives_at(&inlet);
    on(arbiter, move || {
        let receiver = match spec.build() {
            Ok(AnySink::Sync(sink)) => {
                SinkActor::create(|ctx| SinkActor::new(spec, sink, lifeline, ctx)).recipient()
            }
            Ok(AnySink::Async(sink)) => {
                AsyncSinkActor::create(|ctx| AsyncSinkActor::new(spec, sink, lifeline, ctx))
                    .recipient()
            }
            Err(error) => {
                lifeline.fail(error.to_string());
                return;
            }
        };
        inlet.open(receiver);
    });
}

/// Starts a supervisor on the current arbiter, which is where its own supervisor lives.
pub fn start_supervisor(supervisor: Supervisor) -> Recipient<Stop> {
    supervisor.start().recipient()
}

/// Runs `start` on the arbiter's thread. If that is gone, dropping `start` drops the lifeline, which reports it.
fn on(arbiter: &ArbiterHandle, start: impl FnOnce() + Send + 'static) {
    if !arbiter.spawn_fn(start) {
        tracing::error!("an arbiter's thread is gone");
    }
}
