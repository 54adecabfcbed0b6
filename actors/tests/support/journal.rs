//! What is around a log of events in its tests: a disk in memory, a source at a test's hands, and who takes events in.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use actix::prelude::{Actor, Context, Handler};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::mpsc;
use veltrix_actors::mailbox::Deliver;
use veltrix_actors::{
    EventBatch, Finished, Intake, Journal, JournalFactory, JournalFailure, JournalRefusal, Source,
    SourceFactory, SourcePort, StartError, Stored, Submitter, detached_types,
};

/// A disk in memory, which outlives the journals over it.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) records: Vec<Stored>,
    pub(crate) end: u64,
    pub(crate) synced_end: u64,
    pub(crate) finished: Finished,
    pub(crate) is_full: bool,
    /// After so many batches it is full.
    pub(crate) room: Option<usize>,
    /// A batch found no room.
    pub(crate) was_full: bool,
    /// How often something was read.
    pub(crate) reads: usize,
    /// How often it was too full to have written down what is finished.
    pub(crate) unpersisted: usize,
    pub(crate) is_broken: bool,
}

impl Disk {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics with it")
    }
}

impl JournalFactory for Disk {
    fn open(&self) -> Result<(Box<dyn Journal>, Finished), StartError> {
        let mut state = self.lock();
        let end = state.synced_end;
        state.records.retain(|stored| stored.first < end);
        state.end = end;
        Ok((Box::new(self.clone()), state.finished.clone()))
    }

    fn exists(&self) -> bool {
        !self.lock().records.is_empty()
    }
}

impl Journal for Disk {
    fn append(&mut self, source: &str, batch: &EventBatch) -> Result<u64, JournalRefusal> {
        let mut state = self.lock();
        if state.is_full {
            state.was_full = true;
            return Err(JournalRefusal::Full("full".to_owned()));
        }
        if let Some(room) = &mut state.room {
            *room -= 1;
            state.is_full = *room == 0;
        }
        let first = state.end;
        state.records.push(Stored {
            first,
            events: batch.len(),
            at: std::time::SystemTime::now(),
            source: source.into(),
            lines: batch.runs().map(|run| format!("{run}\n")).collect(),
        });
        state.end += batch.len() as u64;
        Ok(first)
    }

    fn sync(&mut self) -> Result<(), JournalFailure> {
        let mut state = self.lock();
        if state.is_broken {
            return Err(JournalFailure("broken".to_owned()));
        }
        state.synced_end = state.end;
        Ok(())
    }

    fn read(&mut self, from: u64) -> Result<Option<Stored>, JournalFailure> {
        let mut state = self.lock();
        state.reads += 1;
        let is_after = |stored: &&Stored| stored.first + stored.events as u64 > from;
        Ok(state.records.iter().find(is_after).cloned())
    }

    fn persist(&mut self, finished: &Finished, _: bool) -> Result<bool, JournalFailure> {
        let mut state = self.lock();
        match state.is_full {
            true => state.unpersisted += 1,
            false => state.finished = finished.clone(),
        }
        Ok(!state.is_full)
    }

    fn oldest(&self) -> u64 {
        self.lock().records.first().map_or(0, |stored| stored.first)
    }

    fn end(&self) -> u64 {
        self.lock().end
    }

    fn unread_bytes(&self, from: u64) -> u64 {
        100 * (self.lock().end - from)
    }
}

/// Hands its port's submitter to the test, and waits.
pub(crate) struct Door(pub(crate) Mutex<Option<mpsc::Sender<Submitter>>>);

struct OpenDoor(mpsc::Sender<Submitter>);

impl SourceFactory for Door {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        let sender = self.0.lock().expect("one start").take();
        Ok(Box::new(OpenDoor(sender.expect("one start"))))
    }
}

impl Source for OpenDoor {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        async move {
            port.report_ready();
            self.0.try_send(port.submitter()).expect("a waiting test");
            port.draining().await;
            Ok(())
        }
        .boxed_local()
    }
}

/// In the router's place: keeps what comes until it is told to finish it.
pub(crate) struct Taker {
    pub(crate) seen: mpsc::Sender<String>,
    pub(crate) held: Vec<Deliver>,
    pub(crate) is_holding: bool,
}

impl Actor for Taker {
    type Context = Context<Self>;
}

impl Handler<Deliver> for Taker {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, _: &mut Context<Self>) {
        for event in deliver.batch().iter() {
            self.seen.try_send(event.id().into_owned()).expect("a test");
        }
        if self.is_holding {
            self.held.push(deliver);
        } else {
            deliver.batch().complete();
            drop(deliver.settle());
        }
    }
}

#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct LetGo;

/// Only the first batch of those that are held.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct LetOneGo;

impl Handler<LetOneGo> for Taker {
    type Result = ();

    fn handle(&mut self, _: LetOneGo, _: &mut Context<Self>) {
        let deliver = self.held.remove(0);
        deliver.batch().complete();
        drop(deliver.settle());
    }
}

#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Hold;

impl Handler<Hold> for Taker {
    type Result = ();

    fn handle(&mut self, _: Hold, _: &mut Context<Self>) {
        self.is_holding = true;
    }
}

impl Handler<LetGo> for Taker {
    type Result = ();

    fn handle(&mut self, _: LetGo, _: &mut Context<Self>) {
        self.is_holding = false;
        for deliver in self.held.drain(..) {
            deliver.batch().complete();
            drop(deliver.settle());
        }
    }
}

/// The event whose id is this number.
pub(crate) fn line(number: u32) -> String {
    format!(r#"{{"specversion":"1.0","id":"{number}","source":"/s","type":"t"}}"#)
}

/// Events whose ids are these numbers.
pub(crate) fn events(numbers: Range<u32>) -> Intake {
    let mut intake = Intake::over(String::new());
    let mut types = detached_types();
    for number in numbers {
        intake
            .push_line(&line(number), &mut types)
            .expect("an event");
    }
    intake
}
