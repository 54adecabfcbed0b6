//! The actor of one sink's overflow log: stores what the sink cannot take yet, and hands it on as the sink goes on.
//!
//! A stored event counts as done for the input that it came from, so that a slow sink holds up neither the others nor the
//! journal.

mod reading;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{Actor, ActorContext, AsyncContext, Context, Handler};

use crate::cursor::CURSOR_INTERVAL;
use crate::journal::JournalRefusal;
use crate::mailbox::{Deliver, OutletReady, Turn};
use crate::outlet::Outlet;
use crate::overflow_log::{OpenLog, OverflowSpec};
use crate::shadows::Shadows;
use crate::sink_stats::SinkStats;
use crate::source_stats::SourceStats;
use crate::spillway::{Congested, STUCK_AFTER_MIN};
use crate::standstill::{LOOK_INTERVAL, Standstill};
use crate::supervision::{Lifeline, StartError, Stop};

/// How often a full disk is tried again.
const FULL_DISK_INTERVAL: Duration = Duration::from_millis(250);

/// Stores events for one sink. There is one for the process's life, as of the journal.
pub struct OverflowActor {
    spec: OverflowSpec,
    /// Opened when there is something in it, or something to put into it.
    log: Option<OpenLog>,
    outlet: Outlet,
    sink: Arc<SinkStats>,
    /// What is in the log, for the count of what is in flight.
    stored: Arc<SourceStats>,
    /// What is to be stored before anything else, though the sink has it in its window.
    shadows: Shadows,
    standstill: Standstill,
    /// Written, and not synced yet.
    group: Vec<(Deliver, u64)>,
    /// What found no room on the disk and waits for it, in order.
    waiting: VecDeque<Deliver>,
    is_full: bool,
    /// A timer runs by which it is tried again whether there is room; until then nothing is.
    is_retry_due: bool,
    /// Something went to the sink from memory, and may be in its window.
    has_passed: bool,
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

impl OverflowActor {
    /// The actor of a log that is opened when it is needed.
    pub(crate) fn new(spec: OverflowSpec, lifeline: Lifeline, ctx: &Context<Self>) -> Self {
        let owner = ctx.address().recipient();
        let stored = spec.registry.unnamed_source();
        Self {
            log: None,
            outlet: Outlet::new(spec.target.clone(), owner, 0, &spec.registry, None),
            sink: spec.registry.sink(&spec.sink),
            shadows: Shadows::new(stored.clone()),
            standstill: Standstill::default(),
            stored,
            group: Vec::new(),
            waiting: VecDeque::new(),
            is_full: false,
            is_retry_due: false,
            has_passed: false,
            is_commit_due: false,
            is_reading: false,
            is_stopping: false,
            turn: Turn::default(),
            lifeline,
            spec,
        }
    }

    /// Opens the log if it is not.
    fn open(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        if self.log.is_some() {
            return Ok(());
        }
        let log = OpenLog::open(&self.spec)?;
        let left = usize::try_from(log.read_back.left()).unwrap_or(usize::MAX);
        if left > 0 {
            let sink = &*self.spec.sink;
            tracing::info!(
                sink,
                events = left,
                "events wait for the sink in its overflow log"
            );
            self.stored.accept(left);
            self.sink.offer(left);
            self.sink.overflow.add(signed(left));
            self.spec.spillway.begin();
        }
        self.log = Some(log);
        ctx.run_interval(CURSOR_INTERVAL, |actor, ctx| actor.persist(false, ctx));
        Ok(())
    }

    /// Writes a batch; it belongs to the current group then, or waits for room.
    fn append(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        if self.is_retry_due {
            self.waiting.push_back(deliver);
            return self.pass_on();
        }
        match self.write(&deliver, ctx) {
            Ok(first) => {
                self.is_full = false;
                self.group.push((deliver, first));
                self.commit_soon(ctx);
            }
            Err(JournalRefusal::Full(reason)) => {
                self.told_full(&reason);
                self.waiting.push_back(deliver);
                self.is_retry_due = true;
                ctx.run_later(FULL_DISK_INTERVAL, Self::try_waiting);
                self.complete_shadows(ctx);
                self.pass_on();
            }
            Err(JournalRefusal::Failed(failure)) => self.fail(&failure.to_string(), ctx),
        }
    }

    fn try_waiting(&mut self, ctx: &mut Context<Self>) {
        self.is_retry_due = false;
        for deliver in std::mem::take(&mut self.waiting) {
            self.append(deliver, ctx);
        }
        self.go_on(ctx);
    }

    fn told_full(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_full, true) {
            let sink = &*self.spec.sink;
            tracing::warn!(
                sink,
                reason,
                "no room for the sink's overflow, its senders wait"
            );
        }
    }

    fn commit_soon(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.is_commit_due, true) {
            ctx.notify(Commit);
        }
    }

    /// A sink that stands still gets no more events from its senders, and they do not wait for it, however few they are.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let oldest = self.spec.target.oldest();
        self.standstill.look(oldest.as_ref());
        if self.standstill.lasts(oldest.as_ref()) {
            self.spec.spillway.begin_for(&self.spec.target);
            match self.write_shadows(ctx) {
                Ok(()) => self.complete_shadows(ctx),
                // Tried again at the next look.
                Err(JournalRefusal::Full(reason)) => {
                    self.told_full(&reason);
                    self.complete_shadows(ctx);
                }
                Err(JournalRefusal::Failed(failure)) => self.fail(&failure.to_string(), ctx),
            }
        }
        self.go_on(ctx);
    }

    /// Without room for the log, what waits goes to the sink from memory, once the log has nothing that comes before it.
    fn pass_on(&mut self) {
        let is_read = match &self.log {
            Some(log) => log.read_back.next >= log.journal.end(),
            None => true,
        };
        while self.is_full && is_read && self.outlet.is_clear() {
            let Some(deliver) = self.waiting.pop_front() else {
                return;
            };
            self.has_passed = true;
            self.outlet.forward(deliver.batch(), None);
            self.outlet.flush();
            drop(deliver.settle());
        }
    }

    fn write(&mut self, deliver: &Deliver, ctx: &mut Context<Self>) -> Result<u64, JournalRefusal> {
        self.write_shadows(ctx)?;
        let log = self.log.as_mut().expect("the shadows opened it");
        log.journal.append(&self.spec.sink, deliver.batch())
    }

    /// Writes what comes before anything else, into a log that has room.
    fn write_shadows(&mut self, ctx: &mut Context<Self>) -> Result<(), JournalRefusal> {
        // One that cannot be begun now may be once there is room again; nothing of it is lost.
        self.open(ctx)
            .map_err(|error| JournalRefusal::Full(error.to_string()))?;
        let log = self.log.as_mut().expect("it was just opened");
        self.shadows.add(self.spec.spillway.take_shadows());
        if std::mem::take(&mut self.has_passed) {
            self.shadows.add(self.spec.target.window());
        }
        log.check_room(self.spec.bytes_max)?;
        self.shadows.write(&self.spec.sink, log)
    }

    /// Has those that are written synced, even if there was no room for the rest: they are done for their inputs then.
    fn complete_shadows(&mut self, ctx: &mut Context<Self>) {
        if !self.shadows.are_synced() {
            self.commit_soon(ctx);
        }
    }

    /// Makes the group durable: its events are done for the inputs that they came from.
    fn commit(&mut self, ctx: &mut Context<Self>) {
        let Some(log) = &mut self.log else { return };
        if let Err(failure) = log.journal.sync() {
            return self.fail(&failure.to_string(), ctx);
        }
        self.shadows.complete();
        for (deliver, _) in self.group.drain(..) {
            let events = deliver.batch().len();
            // In this order: nobody may take the process for idle in between.
            self.stored.accept(events);
            self.sink.overflow.add(signed(events));
            deliver.batch().complete();
            drop(deliver.settle());
        }
    }

    fn is_all_stored(&self) -> bool {
        self.group.is_empty() && self.waiting.is_empty() && self.shadows.are_synced()
    }

    /// The sink has stopped before: what is left is the next process's.
    fn stop_if_done(&mut self, ctx: &mut Context<Self>) {
        if self.is_stopping && self.is_all_stored() {
            self.persist(true, ctx);
            ctx.stop();
        }
    }

    /// The number after the last event that is durable.
    fn synced_end(&self) -> u64 {
        match (self.group.first(), &self.log) {
            (Some((_, first)), _) => *first,
            (None, Some(log)) => log.journal.end(),
            (None, None) => 0,
        }
    }

    /// Writes down what is delivered, if that is news.
    fn persist(&mut self, is_last: bool, ctx: &mut Context<Self>) {
        let Some(log) = &mut self.log else { return };
        let finished = &log.read_back.finished;
        let persisted = log.cursor.persist(&mut *log.journal, finished, is_last);
        if let Err(failure) = persisted {
            self.fail(&failure.to_string(), ctx);
        }
    }

    /// Nobody knows what is on the disk: the next process finds out.
    fn fail(&mut self, reason: &str, ctx: &mut Context<Self>) {
        let sink = &*self.spec.sink;
        tracing::error!(sink, reason, "the sink's overflow log has failed");
        self.lifeline.fail(format!(
            "the overflow log of the sink `{sink}` failed: {reason}"
        ));
        ctx.terminate();
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Actor for OverflowActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.lifeline.spawned(ctx.address().recipient());
        if self.spec.factory.exists()
            && let Err(error) = self.open(ctx)
        {
            return self.fail(&error.to_string(), ctx);
        }
        self.lifeline.started();
        let watcher = ctx.address().recipient();
        self.spec.spillway.set_watcher(watcher);
        ctx.run_interval(LOOK_INTERVAL, Self::look);
        self.go_on(ctx);
    }
}

impl Handler<Deliver> for OverflowActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        self.append(deliver, ctx);
    }
}

impl Handler<Commit> for OverflowActor {
    type Result = ();

    fn handle(&mut self, _: Commit, ctx: &mut Context<Self>) {
        self.is_commit_due = false;
        self.commit(ctx);
        self.persist(false, ctx);
        self.go_on(ctx);
        self.stop_if_done(ctx);
    }
}

impl Handler<Congested> for OverflowActor {
    type Result = ();

    fn handle(&mut self, _: Congested, ctx: &mut Context<Self>) {
        ctx.run_later(STUCK_AFTER_MIN, |actor, _| actor.spec.spillway.look_again());
    }
}

impl Handler<OutletReady> for OverflowActor {
    type Result = ();

    fn handle(&mut self, _: OutletReady, ctx: &mut Context<Self>) {
        self.turn.message(ctx);
        self.outlet.flush();
        self.pass_on();
        self.go_on(ctx);
    }
}

impl Handler<Stop> for OverflowActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.is_stopping = true;
        self.stop_if_done(ctx);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use actix_rt::{Arbiter, System};

    use super::*;
    use crate::batch::EventBatch;
    use crate::finished::Finished;
    use crate::journal::{Journal, JournalFactory, JournalFailure, Stored};
    use crate::mailbox::{Credits, Inlet};
    use crate::memory::MemoryBudget;
    use crate::spillway::Spillway;
    use crate::start::start_overflow;

    /// What there is in a log: batches of a thousand events.
    #[derive(Clone)]
    struct Batches(u64);

    impl JournalFactory for Batches {
        fn open(&self) -> Result<(Box<dyn Journal>, Finished), StartError> {
            Ok((Box::new(self.clone()), Finished::default()))
        }

        fn exists(&self) -> bool {
            self.0 > 0
        }
    }

    impl Journal for Batches {
        fn append(&mut self, _: &str, _: &EventBatch) -> Result<u64, JournalRefusal> {
            unreachable!("it is only read")
        }

        fn sync(&mut self) -> Result<(), JournalFailure> {
            Ok(())
        }

        fn read(&mut self, from: u64) -> Result<Option<Stored>, JournalFailure> {
            let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
            Ok(Some(Stored {
                first: from,
                events: 1_000,
                at: SystemTime::now(),
                source: "slow".into(),
                lines: format!("{line}\n").repeat(1_000),
            }))
        }

        fn persist(&mut self, _: &Finished, _: bool) -> Result<bool, JournalFailure> {
            Ok(true)
        }

        fn oldest(&self) -> u64 {
            0
        }

        fn end(&self) -> u64 {
            1_000 * self.0
        }

        fn unread_bytes(&self, _: u64) -> u64 {
            0
        }
    }

    /// Starts the actor of a log with so many batches in it.
    async fn started(batches: u64, spillway: &Arc<Spillway>) {
        let spec = OverflowSpec {
            sink: "slow".into(),
            factory: Arc::new(Batches(batches)),
            spillway: spillway.clone(),
            target: Inlet::new(),
            types: Arc::default(),
            budget: MemoryBudget::new(1 << 20),
            bytes_max: 0,
            registry: Arc::default(),
        };
        let (lifeline, root) = Lifeline::root();
        start_overflow(spec, &Arbiter::current(), lifeline);
        root.started.await.expect("it starts");
    }

    /// Whether senders go through the log when it was looked at with so many batches in it; nobody is behind the sink.
    fn is_spilling(batches: u64) -> bool {
        System::new().block_on(async {
            tokio::time::pause();
            let spillway = Spillway::new("slow", Inlet::new());
            spillway.begin();
            started(batches, &spillway).await;
            let look = tokio::time::timeout(2 * LOOK_INTERVAL, std::future::pending::<()>());
            assert!(look.await.is_err());
            spillway.lock().is_spilling
        })
    }

    /// Notes when it is told to look after its outlet.
    struct Sender(tokio::sync::mpsc::Sender<()>);

    impl Actor for Sender {
        type Context = Context<Self>;
    }

    impl Handler<OutletReady> for Sender {
        type Result = ();

        fn handle(&mut self, _: OutletReady, _: &mut Context<Self>) {
            self.0.try_send(()).expect("a waiting test");
        }
    }

    #[test]
    fn whoever_is_full_is_told_in_a_moment_to_look_again() {
        System::new().block_on(async {
            tokio::time::pause();
            let spillway = Spillway::new("slow", Inlet::new());
            started(0, &spillway).await;
            let (note, mut told) = tokio::sync::mpsc::channel(1);
            let sender = Sender(note).start().recipient();
            let credits = Credits::new(sender, 0, Arc::default());
            for _ in 0..2 {
                let asked = tokio::time::Instant::now();
                assert!(spillway.lock().wait_for_a_moment(&credits));
                assert_eq!(told.recv().await, Some(()));
                let waited = asked.elapsed();
                assert!(
                    (STUCK_AFTER_MIN..LOOK_INTERVAL).contains(&waited),
                    "{waited:?}"
                );
            }
        });
    }

    #[test]
    fn senders_go_to_the_sink_again_once_it_has_been_sent_all_that_was_in_the_log() {
        assert!(!is_spilling(0));
        // As many as it has credits for.
        assert!(!is_spilling(2));
        // One is read, and waits for a credit.
        assert!(is_spilling(3));
    }
}
