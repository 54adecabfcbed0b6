//! The router actor: takes batches of all sources, finds each event's handlers and lanes, and gathers per lane.

use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler};
use smallvec::{SmallVec, smallvec};

use crate::batch::{Arena, EventBatch};
use crate::dead_letter::{Failure, FailureClass};
use crate::event::{CONDITIONAL, EventRecord};
use crate::faults::FaultPoint;
use crate::key::KeySelector;
use crate::lane_spec::Target;
use crate::mailbox::{Custody, Deliver, Inlet, OutletReady, Turn};
use crate::origin::Origin;
use crate::outlet::Outlet;
use crate::pattern::TypePattern;
use crate::route_table::RouteTable;
use crate::router_outlets::{DEAD_LETTERS, RouterOutlets, UNMATCHED};
use crate::router_place::Rewire;
use crate::stats::Registry;
use crate::supervision::{Lifeline, Stop};

/// One handler, as the router knows it.
#[derive(Clone, Debug)]
pub struct Route {
    /// The types that it wants.
    pub patterns: Vec<TypePattern>,
    /// What orders its events.
    pub key: KeySelector,
    /// Its lanes.
    pub lanes: Vec<Arc<Inlet>>,
    /// Whether it refuses events by a condition.
    pub is_conditional: bool,
}

/// What happens to events that no handler wants.
#[derive(Clone, Debug)]
pub enum Unmatched {
    /// They become dead letters of class `unroutable`.
    DeadLetter,
    /// They are dropped by the rule `unmatched`, and counted.
    Drop,
    /// They go to a sink.
    Sink(Target),
}

impl Unmatched {
    /// Settles an event that does not go to a sink.
    pub(crate) fn give_up(
        &self,
        record: EventRecord,
        arena: &Arc<Arena>,
        origin: &Arc<Origin>,
        dead_letters: &mut Outlet,
        registry: &Registry,
        taken_from: Option<&Arc<Custody>>,
    ) {
        if let Unmatched::Drop = self {
            registry.drop_by_rule("unmatched", 1);
            origin.add(-1);
            return;
        }
        let failure = Failure::untried(
            "router",
            FailureClass::Unroutable,
            "no handler wants the event",
        );
        dead_letters.push_failed(record, arena, origin, failure, taken_from);
    }
}

/// What a router is started with.
#[derive(Clone)]
pub struct RouterSpec {
    /// All handlers.
    pub routes: Vec<Route>,
    /// What happens to events that none of them wants.
    pub unmatched: Unmatched,
    /// Where dead letters go.
    pub dead_letters: Arc<Inlet>,
    /// How often an event and its results may go through the router again.
    pub max_hops: u16,
    /// The counts.
    pub registry: Arc<Registry>,
    /// The faults to inject, if any.
    pub faults: Option<Arc<FaultPoint>>,
}

/// The central router.
pub struct RouterActor {
    spec: RouterSpec,
    table: RouteTable,
    /// Per handler the outlet of its first lane.
    first_lane: Vec<usize>,
    outlets: RouterOutlets,
    is_flush_due: bool,
    turn: Turn,
    lifeline: Lifeline,
}

/// Sent by the router to itself: handled once its mailbox is empty.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Flush;

impl RouterActor {
    /// A router over the routes of `spec`.
    pub fn new(spec: RouterSpec, lifeline: Lifeline, ctx: &Context<Self>) -> Self {
        let mut router = Self {
            table: RouteTable::default(),
            first_lane: Vec::new(),
            outlets: RouterOutlets::new(&spec, ctx.address().recipient()),
            is_flush_due: false,
            turn: Turn::default(),
            lifeline,
            spec: RouterSpec {
                routes: Vec::new(),
                ..spec.clone()
            },
        };
        router.rewire(spec);
        router
    }

    /// Goes by `spec` from the next batch on. What is gathered for lanes that it does not have is sent to them.
    pub(crate) fn rewire(&mut self, spec: RouterSpec) {
        let before = std::mem::replace(&mut self.spec, spec);
        let spec = &self.spec;
        self.table = RouteTable::default();
        for (number, route) in (0..).zip(&spec.routes) {
            for pattern in &route.patterns {
                self.table.add(pattern, number);
            }
        }
        let first_lane = std::mem::take(&mut self.first_lane);
        self.first_lane = self.outlets.rewire(spec, &before, first_lane);
    }

    fn route(&mut self, batch: &EventBatch, custody: Option<&Arc<Custody>>) {
        // Pieces that fan-out adds are counted before anything is sent, which only `Flush` and full parcels do.
        let mut added: SmallVec<[i64; 8]> = smallvec![0; batch.origins().len()];
        let mut last: Option<(crate::types::TypeId, Rc<[u32]>)> = None;
        for (index, record) in batch.records().iter().enumerate() {
            let handlers = match &last {
                Some((type_id, handlers))
                    if *type_id == record.type_id() && type_id.index().is_some() =>
                {
                    handlers
                }
                _ => {
                    let name = || batch.event(index).event_type().into_owned();
                    &last
                        .insert((
                            record.type_id(),
                            self.table.handlers(record.type_id(), name),
                        ))
                        .1
                }
            };
            added[usize::from(record.origin)] +=
                i64::try_from(handlers.len().max(1)).expect("handlers are few") - 1;
            dispatch(
                &self.spec,
                &self.first_lane,
                &mut self.outlets,
                handlers,
                batch,
                index,
                custody,
            );
        }
        for (origin, pieces) in batch.origins().iter().zip(added) {
            origin.add(pieces);
        }
    }

    /// Refuses what went round too often, and gives the rest an origin of its own.
    fn admit_again(&mut self, batch: &EventBatch) -> EventBatch {
        let max_hops = self.spec.max_hops;
        let mut admitted = EventBatch::default();
        for record in batch.records() {
            let (arena, origin) = (batch.arena(record.arena), batch.origin(record.origin));
            if record.hops <= max_hops {
                admitted.push(*record, arena, origin);
                continue;
            }
            let reason =
                format!("went through the router more than {max_hops} times (service.max_hops)");
            let failure = Failure::untried("router", FailureClass::Loop, &reason);
            self.outlets
                .touch(DEAD_LETTERS)
                .push_failed(*record, arena, origin, failure, None);
        }
        if admitted.is_empty() {
            return admitted;
        }
        let mut pieces = vec![0i64; admitted.origins().len()];
        for record in admitted.records() {
            pieces[usize::from(record.origin)] += 1;
        }
        let parents = admitted.origins().iter().cloned().zip(pieces).collect();
        let origin = Origin::of_results(admitted.len(), parents);
        // The parents live on in the new origin, which finishes them.
        drop(admitted.adopt(origin));
        admitted
    }
}

/// Gathers one event for the lanes of all its handlers.
fn dispatch(
    spec: &RouterSpec,
    first_lane: &[usize],
    outlets: &mut RouterOutlets,
    handlers: &[u32],
    batch: &EventBatch,
    index: usize,
    custody: Option<&Arc<Custody>>,
) {
    let mut record = batch.records()[index];
    let (arena, origin) = (batch.arena(record.arena), batch.origin(record.origin));
    if handlers.is_empty() {
        match &spec.unmatched {
            Unmatched::Sink(_) => outlets
                .touch(UNMATCHED)
                .push(record, arena, origin, custody),
            unmatched => unmatched.give_up(
                record,
                arena,
                origin,
                outlets.touch(DEAD_LETTERS),
                &spec.registry,
                custody,
            ),
        }
        return;
    }
    if handlers
        .iter()
        .all(|handler| spec.routes[*handler as usize].is_conditional)
    {
        record.flags |= CONDITIONAL;
        origin.expect_decisions(
            record.index,
            u32::try_from(handlers.len()).expect("handlers are few"),
        );
    }
    for handler in handlers {
        let route = &spec.routes[*handler as usize];
        let lane = match route.lanes.len() {
            1 => 0,
            lanes => (route.key.hash(&batch.event(index)) % lanes as u64) as usize,
        };
        outlets
            .touch(first_lane[*handler as usize] + lane)
            .push(record, arena, origin, custody);
    }
}

impl Actor for RouterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        self.lifeline.started();
    }
}

impl Handler<Deliver> for RouterActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        let batch = &deliver.shipment().batch;
        if let Some(pause) = self
            .spec
            .faults
            .as_ref()
            .and_then(|faults| faults.strike_batch(batch))
        {
            ctx.wait(actix::fut::wrap_future(tokio::time::sleep(pause)));
        }
        // What is gathered in the outlets survives this actor, so the batch is taken over here.
        let custody = deliver.settle();
        if batch
            .records()
            .first()
            .is_some_and(|record| record.hops > 0)
        {
            // Results that come round are taken at once: a lane that waits for the router may be what the router waits for.
            drop(custody);
            let batch = self.admit_again(batch);
            self.route(&batch, None);
        } else {
            let custody = custody.map(Arc::new);
            self.route(batch, custody.as_ref());
        }
        self.outlets.flush_full();
        if !std::mem::replace(&mut self.is_flush_due, true) {
            ctx.notify(Flush);
        }
    }
}

impl Handler<Flush> for RouterActor {
    type Result = ();

    fn handle(&mut self, _: Flush, _: &mut Context<Self>) {
        self.is_flush_due = false;
        self.outlets.flush();
    }
}

impl Handler<OutletReady> for RouterActor {
    type Result = ();

    fn handle(&mut self, ready: OutletReady, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        self.outlets.ready(ready);
    }
}

impl Handler<Rewire> for RouterActor {
    type Result = ();

    fn handle(&mut self, rewire: Rewire, _: &mut Context<Self>) {
        self.rewire(rewire.spec);
        rewire.then.call();
        if rewire.done.send(()).is_err() {
            tracing::debug!("nobody waits for the new routes any more");
        }
    }
}

impl Handler<Stop> for RouterActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        // Events of a source that has failed are nobody's to wait for, and may come round again.
        let registry = self.spec.registry.clone();
        let drained = async move { registry.drained().await };
        // At its deadline the drain goes on without what is left.
        ctx.spawn(actix::fut::wrap_future::<_, Self>(drained).map(|_, _, ctx| ctx.stop()));
    }
}
