//! The journal's actor: stores what sources submit, a group for each sync, and hands it on to the router.
//!
//! What a process before this one left unfinished is read back and handed on first; what comes meanwhile is stored, and read
//! back in its turn.

mod door;
mod reading;
mod replaying;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::{Actor, ActorContext, AsyncContext, Context, Handler};

pub use self::door::DUPLICATE;
use self::door::Written;

use crate::acceptance;
use crate::batch::EventBatch;
use crate::cursor::{CURSOR_INTERVAL, Cursor};
use crate::dedupe::{Dedupe, DedupeSpec};
use crate::finished::Finished;
use crate::journal::{Journal, JournalFactory, JournalFailure, JournalRefusal};
use crate::journal_desk::JournalReplaySpec;
use crate::journal_replay::JournalReplay;
use crate::mailbox::{Custody, Deliver, Inlet, OutletReady, Turn};
use crate::memory::MemoryBudget;
use crate::outlet::Outlet;
use crate::read_back::ReadBack;

use crate::receipt::Admission;
use crate::stats::Registry;
use crate::supervision::{Lifeline, Stop};
use crate::types::{TypeCache, TypeTable};

/// How often a full disk is tried again for those who wait for it.
const FULL_DISK_INTERVAL: Duration = Duration::from_millis(250);

/// What the journal's actor is started with.
#[derive(Clone)]
pub struct JournalSpec {
    /// Opens the journal.
    pub factory: Arc<dyn JournalFactory>,
    /// Where stored events go.
    pub router: Arc<Inlet>,
    /// The interned types.
    pub types: Arc<TypeTable>,
    /// Charged with what is read back.
    pub budget: Arc<MemoryBudget>,
    /// Bytes of stored events that may wait to be handed on; beyond, nothing more is stored.
    pub backlog_bytes_max: u64,
    /// How finished events are sent once more; they are not if there is none.
    pub replay: Option<JournalReplaySpec>,
    /// How far back events are known that come again; all are taken if there is none.
    pub dedupe: Option<DedupeSpec>,
    /// The counts.
    pub registry: Arc<Registry>,
}

/// Stores batches. There is one for the process's life: what is in doubt after its end is settled by the next process.
pub struct JournalActor {
    journal: Box<dyn Journal>,
    spec: JournalSpec,
    inlet: Arc<Inlet>,
    outlet: Outlet,
    read_back: ReadBack,
    /// What was written down last, and when.
    cursor: Cursor,
    /// Written, and not synced yet.
    group: Vec<Written>,
    /// The events that came before.
    dedupe: Option<Dedupe>,
    /// What found no room on the disk and waits for it, in order.
    waiting: VecDeque<Deliver>,
    /// Custody of batches of those who are to wait while there is something to read back, with the number of their events:
    /// as many must have been read.
    held_back: VecDeque<(Custody, u64)>,
    replay: Option<JournalReplay>,
    is_replaying: bool,
    is_commit_due: bool,
    is_reading: bool,
    is_stopping: bool,
    turn: Turn,
    lifeline: Lifeline,
}

/// Sent by the actor to itself: handled once its mailbox is empty.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Commit;

impl JournalActor {
    /// The actor around a journal that was just opened, of which this much is finished.
    pub(crate) fn new(
        spec: JournalSpec,
        (mut journal, finished): (Box<dyn Journal>, Finished),
        inlet: Arc<Inlet>,
        lifeline: Lifeline,
        ctx: &Context<Self>,
    ) -> Self {
        let types = TypeCache::new(spec.types.clone());
        let mut dedupe = spec.dedupe.map(Dedupe::new);
        if let Some(dedupe) = &mut dedupe {
            door::remember(dedupe, &mut *journal, types.clone());
        }
        let end = journal.end();
        let read_back = ReadBack::new(finished.clone(), end, types, spec.budget.clone());
        let left = signed(read_back.left());
        // Nobody may take the process for idle before these are read back.
        spec.registry.in_flight.add(left);
        spec.registry.journal.open();
        spec.registry.journal.backlog.add(left);
        let owner = || ctx.address().recipient::<OutletReady>();
        // The outlet to the router is number 0.
        let replay = spec.replay.as_ref().map(|replay| {
            let (targets, types) = (replay.targets.clone(), spec.types.clone());
            JournalReplay::new(
                targets,
                types,
                spec.budget.clone(),
                owner(),
                &spec.registry,
                1,
            )
        });
        Self {
            outlet: Outlet::new(spec.router.clone(), owner(), 0, &spec.registry, None),
            read_back,
            cursor: Cursor::new(finished),
            group: Vec::new(),
            dedupe,
            waiting: VecDeque::new(),
            held_back: VecDeque::new(),
            replay,
            is_replaying: false,
            is_commit_due: false,
            is_reading: false,
            is_stopping: false,
            turn: Turn::default(),
            journal,
            spec,
            inlet,
            lifeline,
        }
    }

    /// Writes a batch; it belongs to the current group then. One that finds no room waits, or is refused.
    fn append(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        let batch = deliver.batch();
        if !self.waiting.is_empty() && !acceptance::is_refusable(batch) {
            self.waiting.push_back(deliver);
            return;
        }
        let judged = self.judge(batch);
        let written = self.write(judged.new.as_ref().unwrap_or(batch));
        match &written {
            Ok(_) => self.leave_out(batch, &judged),
            Err(_) => self.take_back(&judged),
        }
        match written {
            Ok(first) => {
                let new = judged.new;
                self.group.push(Written {
                    deliver,
                    new,
                    first,
                });
                if !std::mem::replace(&mut self.is_commit_due, true) {
                    ctx.notify(Commit);
                }
            }
            Err(JournalRefusal::Full(reason)) => {
                if self.spec.registry.journal.set_full(true) {
                    tracing::error!(reason, "the journal has no room, and accepts nothing");
                }
                if acceptance::is_refusable(batch) || self.spec.registry.is_stopped_and_idle() {
                    self.spec.registry.journal.refused.add(batch.len());
                    acceptance::reject(batch, Admission::Full);
                    drop(deliver.settle());
                } else {
                    self.waiting.push_back(deliver);
                    if self.waiting.len() == 1 {
                        ctx.run_later(FULL_DISK_INTERVAL, Self::try_waiting);
                    }
                }
            }
            Err(JournalRefusal::Failed(failure)) => {
                acceptance::reject(batch, Admission::Failed);
                self.fail(&failure, ctx);
            }
        }
    }

    fn write(&mut self, batch: &EventBatch) -> Result<u64, JournalRefusal> {
        if batch.is_empty() {
            return Ok(self.journal.end());
        }
        let (unread, max) = (
            self.journal.unread_bytes(self.read_back.next),
            self.spec.backlog_bytes_max,
        );
        if unread > max {
            let reason =
                format!("{unread} bytes wait to be handled, more than `journal.backlog`, {max}");
            return Err(JournalRefusal::Full(reason));
        }
        let source = batch.origins().first().and_then(|origin| origin.source());
        let source = source.map_or("", |source| source.name());
        let first = self.journal.append(source, batch)?;
        let stats = &self.spec.registry.journal;
        if stats.set_full(false) {
            tracing::info!("the journal has room again");
        }
        stats.events.add(batch.len());
        stats.bytes.add(batch.bytes());
        Ok(first)
    }

    fn try_waiting(&mut self, ctx: &mut Context<Self>) {
        for deliver in std::mem::take(&mut self.waiting) {
            self.append(deliver, ctx);
        }
        self.stop_if_done(ctx);
    }

    /// Makes the group durable, has its events accepted, and hands them on.
    fn commit(&mut self, ctx: &mut Context<Self>) {
        let started = Instant::now();
        if let Err(failure) = self.journal.sync() {
            for written in self.group.drain(..) {
                acceptance::reject(written.deliver.batch(), Admission::Failed);
            }
            self.fail(&failure, ctx);
            return;
        }
        self.spec.registry.journal.sync_time.add(started.elapsed());
        for written in std::mem::take(&mut self.group) {
            let (batch, first) = (written.batch(), written.first);
            let events = batch.len() as u64;
            acceptance::store(batch, first, &self.read_back.finished);
            if written.new.is_some() {
                acceptance::accept_left_out(written.deliver.batch());
            }
            let custody = written.deliver.settle();
            if events == 0 {
                continue;
            }
            // Who can be refused need not wait: the backlog's limit stops it.
            let is_refusable = acceptance::is_refusable(batch);
            if self.read_back.next == first && (self.outlet.has_room() || !is_refusable) {
                self.read_back.next += events;
                self.outlet.forward(batch, custody.map(Arc::new).as_ref());
                continue;
            }
            acceptance::park(batch);
            self.spec.registry.journal.backlog.add(signed(events));
            if let Some(custody) = custody.filter(|_| !is_refusable) {
                self.held_back.push_back((custody, events));
            }
        }
        self.outlet.flush();
    }

    /// The number after the last event that is durable.
    fn synced_end(&self) -> u64 {
        match self.group.first() {
            Some(written) => written.first,
            None => self.journal.end(),
        }
    }

    /// Writes down what is finished, if that is due and news. Asked by more than a timer, which starves under load.
    fn persist(&mut self, is_last: bool, ctx: &mut Context<Self>) {
        let finished = &self.read_back.finished;
        let persisted = self.cursor.persist(&mut *self.journal, finished, is_last);
        match persisted {
            Ok(()) => self.spec.registry.journal.set_finished(self.cursor.count()),
            Err(failure) => self.fail(&failure, ctx),
        }
    }

    /// Accepts nothing any more: what is on disk is the next process's.
    fn fail(&mut self, failure: &JournalFailure, ctx: &mut Context<Self>) {
        self.spec.registry.journal.seal();
        tracing::error!(reason = %failure, "the journal has failed, nothing is accepted any more");
        self.lifeline.fail(format!("the journal failed: {failure}"));
        ctx.terminate();
    }

    fn stop_if_done(&mut self, ctx: &mut Context<Self>) {
        let is_sent = self.replay.as_ref().is_none_or(|replay| replay.is_empty());
        let is_idle = self.outlet.is_empty() && self.group.is_empty() && self.waiting.is_empty();
        if self.is_stopping && is_idle && is_sent {
            self.persist(true, ctx);
            ctx.stop();
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Drop for JournalActor {
    fn drop(&mut self) {
        // Whoever waits for an answer gets one; after this actor there is none.
        for shipment in self.inlet.close() {
            acceptance::reject(&shipment.batch, Admission::Failed);
        }
    }
}

impl Actor for JournalActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(CURSOR_INTERVAL, |actor, ctx| {
            actor.persist(false, ctx);
            actor.replay_later(ctx);
        });
        if let Some(replay) = &self.spec.replay {
            replay.desk.open(ctx.address().recipient());
        }
        let events = self.read_back.left();
        if events > 0 {
            tracing::info!(events, "unfinished events are read back from the journal");
        }
        self.read_later(ctx);
        self.lifeline.spawned(ctx.address().recipient());
        self.lifeline.started();
    }
}

impl Handler<Deliver> for JournalActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        self.append(deliver, ctx);
    }
}

impl Handler<Commit> for JournalActor {
    type Result = ();

    fn handle(&mut self, _: Commit, ctx: &mut Context<Self>) {
        self.is_commit_due = false;
        self.persist(false, ctx);
        self.commit(ctx);
        self.read_later(ctx);
        self.stop_if_done(ctx);
    }
}

impl Handler<OutletReady> for JournalActor {
    type Result = ();

    fn handle(&mut self, _: OutletReady, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        self.outlet.flush();
        if let Some(replay) = &mut self.replay {
            replay.flush();
        }
        self.replay_later(ctx);
        self.read_later(ctx);
        self.stop_if_done(ctx);
    }
}

impl Handler<Stop> for JournalActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.is_stopping = true;
        self.stop_if_done(ctx);
    }
}
