//! All clients at work: where they send to at the moment, and what they have noted in the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use crate::client::{Client, Note};
use crate::workload::Workload;

/// A process that takes events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// How many processes were started before it.
    pub(crate) epoch: u16,
    /// Its http source.
    pub(crate) http: SocketAddr,
    /// Its tcp source.
    pub(crate) tcp: SocketAddr,
    /// When it was started.
    pub(crate) started: Instant,
}

#[derive(Default)]
struct Aim {
    target: Option<Target>,
    /// The target takes no connections any more: its port may be another's by now.
    is_closing: bool,
    /// The process whose disk was taken away while it ran. It may have answered what a client reads only after its end.
    doubted: Option<u16>,
    is_over: bool,
}

/// What clients and the run know of each other.
#[derive(Default)]
pub(crate) struct Shared {
    aim: Mutex<Aim>,
    changed: Condvar,
    /// The longest pause of a client after an answer, in microseconds.
    pause_microseconds: AtomicU64,
    is_held: AtomicBool,
    acked: AtomicU64,
    refused: AtomicU64,
    /// The longest time until one of them, in microseconds.
    refusal_microseconds: AtomicU64,
    /// Refusals that do not say when to come again.
    pub(crate) refused_without_time: AtomicU64,
    /// From a process's start until its first ack, by epoch.
    first_acks: Mutex<BTreeMap<u16, Duration>>,
    complaints: Mutex<Vec<String>>,
}

impl Shared {
    fn aim(&self) -> MutexGuard<'_, Aim> {
        self.aim.lock().expect("no panic inside")
    }

    /// Whether an ack of that process proves nothing any more.
    pub(crate) fn is_in_doubt(&self, epoch: u16) -> bool {
        self.aim().doubted == Some(epoch)
    }

    /// Whether the process to send to takes connections.
    pub(crate) fn is_closing(&self) -> bool {
        self.aim().is_closing
    }

    /// Waits for a process to send to; none once the run is over.
    pub(crate) fn target(&self) -> Option<Target> {
        let is_idle = |aim: &mut Aim| !aim.is_over && aim.target.is_none();
        let aim = self.changed.wait_while(self.aim(), is_idle);
        let aim = aim.expect("no panic inside");
        aim.target.filter(|_| !aim.is_over)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.aim().is_over
    }

    /// Waits so long, or until the run is over.
    pub(crate) fn wait(&self, time: Duration) {
        let waited = self
            .changed
            .wait_timeout_while(self.aim(), time, |aim| !aim.is_over);
        drop(waited.expect("no panic inside"));
    }

    pub(crate) fn pause_longest(&self) -> Duration {
        Duration::from_micros(self.pause_microseconds.load(Ordering::Relaxed))
    }

    /// Waits while the clients are held back.
    pub(crate) fn wait_while_held(&self) {
        let is_held = |aim: &mut Aim| !aim.is_over && self.is_held.load(Ordering::Acquire);
        drop(
            self.changed
                .wait_while(self.aim(), is_held)
                .expect("no panic inside"),
        );
    }

    pub(crate) fn acknowledged(&self, target: &Target, events: u64) {
        self.acked.fetch_add(events, Ordering::Relaxed);
        let mut first_acks = self.first_acks.lock().expect("no panic inside");
        let first = first_acks.entry(target.epoch);
        first.or_insert_with(|| target.started.elapsed());
    }

    pub(crate) fn refused(&self, after: Duration) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.refusal_microseconds
            .fetch_max(microseconds, Ordering::Relaxed);
    }

    /// Something that must not happen between a client and Veltrix.
    pub(crate) fn complain(&self, complaint: String) {
        let mut complaints = self.complaints.lock().expect("no panic inside");
        if complaints.len() < 20 {
            complaints.push(complaint);
        }
    }
}

/// The clients' threads.
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Vec<Note>>>,
}

/// What the clients know when all is over.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// By client, by number.
    pub(crate) notes: Vec<Vec<Note>>,
    /// From each process's start until its first ack, by epoch.
    pub(crate) first_acks: BTreeMap<u16, Duration>,
    /// Answers that refused events.
    pub(crate) refused: u64,
    /// The longest time until one of them.
    pub(crate) refusal_longest: Duration,
    /// Those without `Retry-After`.
    pub(crate) refused_without_time: u64,
    /// What must not happen between a client and Veltrix.
    pub(crate) complaints: Vec<String>,
}

impl Fleet {
    /// Starts all clients; they wait for a process to send to.
    pub(crate) fn start(workload: &Arc<Workload>, pause_longest: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let microseconds = u64::try_from(pause_longest.as_micros()).unwrap_or(u64::MAX);
        shared
            .pause_microseconds
            .store(microseconds, Ordering::Relaxed);
        let clients = (0..workload.clients()).map(|number| {
            let client = Client::new(number, Arc::clone(workload), Arc::clone(&shared));
            std::thread::spawn(move || client.run())
        });
        Self {
            clients: clients.collect(),
            shared,
        }
    }

    /// Where to send to from now on.
    pub(crate) fn aim(&self, target: Option<Target>) {
        let mut aim = self.shared.aim();
        aim.target = target;
        aim.is_closing = false;
        drop(aim);
        self.shared.changed.notify_all();
    }

    /// Has the clients go on over the connections that they have, and open no others.
    pub(crate) fn keep_connections(&self) {
        self.shared.aim().is_closing = true;
    }

    /// From now on an ack of that process counts as no answer: file systems that are shut down during a sync have been seen
    /// to let it succeed.
    pub(crate) fn doubt_acks(&self, epoch: u16) {
        self.shared.aim().doubted = Some(epoch);
    }

    /// Events acknowledged so far.
    pub(crate) fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Relaxed)
    }

    /// Answers so far that refused events.
    pub(crate) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Has the clients send nothing new, or go on.
    pub(crate) fn hold(&self, is_held: bool) {
        let aim = self.shared.aim();
        self.shared.is_held.store(is_held, Ordering::Release);
        drop(aim);
        self.shared.changed.notify_all();
    }

    /// Has the clients wait for the answers that are due, and end.
    pub(crate) fn finish(self) -> anyhow::Result<History> {
        self.shared.aim().is_over = true;
        self.shared.changed.notify_all();
        let mut history = History::default();
        for client in self.clients {
            let notes = client.join().map_err(|_| anyhow!("a client panicked"))?;
            history.notes.push(notes);
        }
        let shared = Arc::into_inner(self.shared).context("all clients have ended")?;
        history.first_acks = shared.first_acks.into_inner()?;
        history.complaints = shared.complaints.into_inner()?;
        history.refused = shared.refused.into_inner();
        history.refusal_longest = Duration::from_micros(shared.refusal_microseconds.into_inner());
        history.refused_without_time = shared.refused_without_time.into_inner();
        Ok(history)
    }
}
