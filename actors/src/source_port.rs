//! A source's side of its actor: where it submits events, and how it is held back.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{Actor, AsyncContext, Context, Recipient};
use futures::FutureExt;
use tokio::sync::{Notify, oneshot};

use crate::batch::{Arena, BATCH_EVENTS_MAX, EventBatch, Intake};
use crate::faults::{FaultySource, SourceFaults};
use crate::mailbox::Inlet;
use crate::memory::MemoryBudget;
use crate::origin::Origin;
use crate::outlet::Outlet;
use crate::receipt::{Admission, Receipt};
use crate::source::{Durability, Source, SourcePlace};
use crate::source_actor::SourceActor;
use crate::source_stats::SourceStats;
use crate::stats::Registry;
use crate::submitter::{Allowance, Submit, Submitter};
use crate::types::{TypeCache, TypeTable};
use crate::upstream::{Cursor, CursorStore, Upstream};

/// Events that may be submitted to a source from other threads and wait for the router; beyond, submitters are told to wait.
pub const SUBMITTED_EVENTS_MAX: usize = 8_192;

/// A source's side of its actor: where it submits events, and how it is held back. Lives on the actor's thread.
#[derive(Clone)]
pub struct SourcePort {
    pub(crate) shared: Rc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) outlet: RefCell<Outlet>,
    /// Where the events go in next: the router, or the journal.
    pub(crate) next: Arc<Inlet>,
    pub(crate) durability: Durability,
    pub(crate) types: Arc<TypeTable>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) stats: Arc<SourceStats>,
    allowance: Allowance,
    pub(crate) submissions: Recipient<Submit>,
    pub(crate) is_draining: Cell<bool>,
    /// Wakes the source when there is room again, or when it shall drain.
    pub(crate) changed: Notify,
    /// Running connections.
    pub(crate) children: Cell<usize>,
    pub(crate) is_ready: Cell<bool>,
    pub(crate) ready: Notify,
    /// Set if faults are injected here.
    faults: OnceCell<Rc<SourceFaults>>,
    /// The source's place in what it reads, if that is kept.
    cursor: RefCell<Option<Box<dyn Cursor>>>,
}

impl SourcePort {
    /// The source's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The source's counts.
    pub fn stats(&self) -> &Arc<SourceStats> {
        &self.shared.stats
    }

    /// A parser's front of the type table.
    pub fn types(&self) -> TypeCache {
        TypeCache::new(self.shared.types.clone())
    }

    /// The budget that intake waits for.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.shared.budget
    }

    /// A handle for other threads.
    pub fn submitter(&self) -> Submitter {
        Submitter {
            recipient: self.shared.submissions.clone(),
            allowance: self.shared.allowance.clone(),
        }
    }

    /// Reports that the source is up: bound, opened, connected. Readiness waits for it.
    pub fn report_ready(&self) {
        self.shared.is_ready.set(true);
        self.shared.ready.notify_one();
    }

    /// Waits until there is room for a batch and memory for it. False if the source shall drain instead.
    pub async fn room(&self) -> bool {
        let allowance = &self.shared.allowance;
        self.wait_for_faults().await;
        loop {
            if self.is_draining() {
                return false;
            }
            if !self.shared.outlet.borrow().has_room() {
                self.shared.changed.notified().await;
            } else if allowance.has_room() {
                return true;
            } else {
                futures::select_biased! {
                    () = self.shared.changed.notified().fuse() => {}
                    () = allowance.room().fuse() => {}
                }
            }
        }
    }

    /// Whether the source shall take in no more.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining.get()
    }

    /// Resolves when the source shall take in no more.
    pub async fn draining(&self) {
        while !self.is_draining() {
            self.shared.changed.notified().await;
        }
    }

    /// Hands events over; they are accepted from here on, or once the journal has stored them. Call it after
    /// [`SourcePort::room`].
    pub fn submit(&self, mut intake: Intake) {
        self.strike(&mut intake);
        self.submit_parts(intake, None);
    }

    /// As [`SourcePort::submit`]; the answer comes once all events are accepted. A full disk is waited for.
    pub fn submit_acknowledged(&self, intake: Intake) -> oneshot::Receiver<Admission> {
        let (answer, answered) = oneshot::channel();
        self.submit_answered(intake, answer, false);
        answered
    }

    /// As [`SourcePort::submit_acknowledged`], except that events may be refused.
    pub(crate) fn submit_answered(
        &self,
        mut intake: Intake,
        answer: oneshot::Sender<Admission>,
        is_refusable: bool,
    ) {
        self.strike(&mut intake);
        let is_journaled = matches!(self.shared.durability, Durability::Journal);
        let parts = if is_journaled {
            intake.records.len().div_ceil(BATCH_EVENTS_MAX)
        } else {
            0
        };
        let receipt = Receipt::new(answer, parts, is_refusable);
        if parts == 0 {
            self.submit_parts(intake, None);
            receipt.answer(Admission::Accepted);
        } else {
            self.submit_parts(intake, Some(&receipt));
        }
    }

    /// Events that were submitted by all actors of a source with `durability: upstream`.
    pub fn submitted(&self) -> u64 {
        self.shared
            .durability
            .upstream()
            .map_or(0, Upstream::submitted)
    }

    /// Where a source with `durability: upstream` keeps its place.
    pub fn cursor_store(&self) -> Option<&Arc<dyn CursorStore>> {
        self.shared.durability.upstream().map(Upstream::store)
    }

    /// Has the source's place moved over what is finished from now on, until that is all.
    pub fn keep_cursor(&self, cursor: Box<dyn Cursor>) {
        *self.shared.cursor.borrow_mut() = Some(cursor);
    }

    /// Moves the cursor over what is finished by now.
    pub(crate) fn advance_cursor(&self) {
        if let Some(upstream) = self.shared.durability.upstream()
            && let Some(cursor) = &mut *self.shared.cursor.borrow_mut()
        {
            cursor.advance(upstream.finished());
        }
    }

    /// As [`SourcePort::advance_cursor`], and makes it durable.
    pub(crate) fn sync_cursor(&self) {
        self.advance_cursor();
        if let Some(cursor) = &mut *self.shared.cursor.borrow_mut() {
            cursor.sync();
        }
    }

    /// Has injected faults strike.
    fn strike(&self, intake: &mut Intake) {
        if let Some(faults) = self.shared.faults.get()
            && !intake.is_empty()
        {
            faults.strike(intake);
        }
    }

    fn submit_parts(&self, intake: Intake, receipt: Option<&Arc<Receipt>>) {
        if intake.is_empty() {
            return;
        }
        let Intake { text, mut records } = intake;
        let event_bytes = text.len().div_ceil(records.len());
        let arena = Arc::new(Arena::new(text, &self.shared.budget));
        let mut outlet = self.shared.outlet.borrow_mut();
        for chunk in records.chunks_mut(BATCH_EVENTS_MAX) {
            for (index, record) in (0..).zip(chunk.iter_mut()) {
                record.index = index;
            }
            let bytes = chunk.len() * event_bytes;
            let origin = self.origin(chunk.len(), bytes, receipt);
            outlet.append(EventBatch::from_parts(
                chunk.to_vec(),
                Arc::clone(&arena),
                origin,
            ));
        }
        outlet.flush();
    }

    fn origin(&self, events: usize, bytes: usize, receipt: Option<&Arc<Receipt>>) -> Arc<Origin> {
        let stats = self.shared.stats.clone();
        match &self.shared.durability {
            Durability::None => Origin::accepted(events, bytes, stats, None),
            Durability::Upstream(upstream) => {
                Origin::accepted(events, bytes, stats, Some(upstream.mark(events)))
            }
            Durability::Journal => Origin::submitted(events, bytes, stats, receipt.cloned()),
        }
    }

    /// Starts an actor for a connection of this source, with credits of its own and the source's counts.
    ///
    /// It drains with the source, and its failure is logged and harms no other connection.
    pub fn spawn_connection(&self, connection: Box<dyn Source>) {
        let shared = &self.shared;
        shared.children.set(shared.children.get() + 1);
        shared.stats.connections.add(1);
        let parent = self.clone();
        SourceActor::create(|ctx| {
            let port = SourcePort::new(
                SourcePlace {
                    name: shared.name.clone(),
                    next: shared.next.clone(),
                    durability: shared.durability.clone(),
                    types: shared.types.clone(),
                    budget: shared.budget.clone(),
                    registry: shared.registry.clone(),
                },
                ctx,
            );
            let child = port.clone();
            let ends = ConnectionEnd(parent.clone());
            let connection = match shared.faults.get() {
                Some(faults) => FaultySource::around(connection, faults.point().clone()),
                None => connection,
            };
            ctx.spawn(actix::fut::wrap_future(async move {
                // Held by the connection's actor: it counts the connection off however the actor ends.
                ends.0.draining().await;
                child.drain();
                futures::future::pending::<()>().await;
                drop(ends);
            }));
            SourceActor::for_connection(connection, port)
        });
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.shared.children.get()
    }

    /// Waits until all connections have ended.
    pub async fn connections_closed(&self) {
        while self.connections() > 0 {
            self.shared.changed.notified().await;
        }
    }

    /// Has what is submitted here suffer faults.
    pub(crate) fn inject(&self, faults: SourceFaults) -> Rc<SourceFaults> {
        Rc::clone(self.shared.faults.get_or_init(|| Rc::new(faults)))
    }

    /// How long injected faults hold the source up, told once.
    pub(crate) fn take_pause(&self) -> Option<Duration> {
        let faults = self.shared.faults.get()?;
        Some(faults.take_pause()).filter(|pause| !pause.is_zero())
    }

    async fn wait_for_faults(&self) {
        if let Some(pause) = self.take_pause() {
            futures::select_biased! {
                () = self.draining().fuse() => {}
                () = tokio::time::sleep(pause).fuse() => {}
            }
        }
    }

    pub(crate) fn new(place: SourcePlace, ctx: &Context<SourceActor>) -> Self {
        let SourcePlace {
            name,
            next,
            durability,
            types,
            budget,
            registry,
        } = place;
        let outlet = Outlet::new(next.clone(), ctx.address().recipient(), 0, &registry, None);
        let stats = registry.source(&name);
        Self {
            shared: Rc::new(Shared {
                allowance: Allowance {
                    budget: budget.clone(),
                    stats: stats.clone(),
                    registry: registry.clone(),
                },
                stats,
                name,
                outlet: RefCell::new(outlet),
                next,
                durability,
                types,
                budget,
                registry,
                submissions: ctx.address().recipient(),
                is_draining: Cell::new(false),
                changed: Notify::new(),
                children: Cell::new(0),
                is_ready: Cell::new(false),
                ready: Notify::new(),
                faults: OnceCell::new(),
                cursor: RefCell::default(),
            }),
        }
    }

    pub(crate) fn drain(&self) {
        self.shared.is_draining.set(true);
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn wake(&self) {
        self.shared.changed.notify_waiters();
    }
}

struct ConnectionEnd(SourcePort);

impl Drop for ConnectionEnd {
    fn drop(&mut self) {
        let children = &self.0.shared.children;
        children.set(children.get() - 1);
        self.0.shared.stats.connections.add(-1);
        self.0.wake();
    }
}
