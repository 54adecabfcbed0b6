//! The ledgers over all processes that ran in a data directory: what the earlier ones counted, beside what this one counts.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use veltrix_actors::{CursorStore, Registry};

use crate::disk_cursor::DiskCursor;

/// The folder in the data directory.
const FOLDER: &str = "ledgers";

/// Time between two looks whether something is to be written down. What was counted since then a killed process forgets.
const INTERVAL: Duration = Duration::from_millis(100);

/// What became of every event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ledgers {
    pub(crate) sources: BTreeMap<String, SourceLedger>,
    pub(crate) sinks: BTreeMap<String, SinkLedger>,
    /// Dropped events by rule.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Events given up, by branch and class.
    pub(crate) dead_letters: BTreeMap<String, BTreeMap<String, u64>>,
}

/// `accepted = finished + in flight`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceLedger {
    pub(crate) received: u64,
    pub(crate) accepted: u64,
    pub(crate) finished: u64,
    pub(crate) lost: u64,
    /// By reason.
    pub(crate) rejected: BTreeMap<String, u64>,
}

/// `offered = delivered + dead-lettered + waiting`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SinkLedger {
    pub(crate) offered: u64,
    pub(crate) delivered: u64,
    pub(crate) dead_lettered: u64,
}

impl Ledgers {
    /// What has been counted in this process.
    fn of(registry: &Registry) -> Self {
        let mut ledgers = Self::default();
        for (name, stats) in registry.sources() {
            let rejected = stats.rejected().into_iter();
            let ledger = SourceLedger {
                received: stats.received.get(),
                accepted: stats.accepted.get(),
                finished: stats.finished.get(),
                lost: stats.lost.get(),
                rejected: rejected
                    .map(|(why, count)| (why.to_owned(), count))
                    .collect(),
            };
            ledgers.sources.insert(name, ledger);
        }
        for (name, stats) in registry.sinks() {
            let ledger = SinkLedger {
                offered: stats.offered.get(),
                delivered: stats.delivered.get(),
                dead_lettered: stats.dead_lettered.get(),
            };
            ledgers.sinks.insert(name, ledger);
        }
        for (rule, count) in registry.dropped() {
            ledgers.dropped.insert(rule.to_owned(), count);
        }
        for ((branch, class), count) in registry.dead_letters() {
            let classes = ledgers.dead_letters.entry(branch).or_default();
            classes.insert(class.to_owned(), count);
        }
        ledgers
    }

    fn add(&mut self, others: &Self) {
        for (name, other) in &others.sources {
            let ledger = self.sources.entry(name.clone()).or_default();
            ledger.received += other.received;
            ledger.accepted += other.accepted;
            ledger.finished += other.finished;
            ledger.lost += other.lost;
            add_counts(&mut ledger.rejected, &other.rejected);
        }
        for (name, other) in &others.sinks {
            let ledger = self.sinks.entry(name.clone()).or_default();
            ledger.offered += other.offered;
            ledger.delivered += other.delivered;
            ledger.dead_lettered += other.dead_lettered;
        }
        add_counts(&mut self.dropped, &others.dropped);
        for (branch, classes) in &others.dead_letters {
            let known = self.dead_letters.entry(branch.clone()).or_default();
            add_counts(known, classes);
        }
    }

    /// What the next process begins with: what is unfinished now it accepts or offers itself, if it is kept.
    fn without_unfinished(mut self) -> Self {
        for ledger in self.sources.values_mut() {
            ledger.accepted = ledger.finished + ledger.lost;
        }
        for ledger in self.sinks.values_mut() {
            ledger.offered = ledger.delivered + ledger.dead_lettered;
        }
        self
    }
}

fn add_counts(counts: &mut BTreeMap<String, u64>, others: &BTreeMap<String, u64>) {
    for (name, count) in others {
        *counts.entry(name.clone()).or_default() += count;
    }
}

/// Where the ledgers are kept between processes.
pub(crate) struct LedgerBook {
    registry: Arc<Registry>,
    earlier: Ledgers,
    store: DiskCursor,
    // The newest counts are written last, whichever thread writes them.
    written: Mutex<Ledgers>,
}

impl LedgerBook {
    /// Reads what earlier processes counted. Without it the counts begin at zero, which is logged and refuses no start.
    pub(crate) fn open(data_dir: &Path, registry: Arc<Registry>) -> Arc<Self> {
        let folder = data_dir.join(FOLDER);
        let store = DiskCursor::new(folder.clone(), "the counts begin at zero");
        let read = store.load().and_then(|found| match found {
            Some(found) => serde_json::from_slice(&found).map_err(io::Error::other),
            None => Ok(Ledgers::default()),
        });
        let earlier = read.unwrap_or_else(|error| {
            tracing::error!(?folder, %error, "the ledgers cannot be read: the counts begin at zero");
            Ledgers::default()
        });
        Arc::new(Self {
            registry,
            written: Mutex::new(earlier.clone()),
            earlier,
            store,
        })
    }

    /// The counts of all processes.
    pub(crate) fn now(&self) -> Ledgers {
        let mut ledgers = self.earlier.clone();
        ledgers.add(&Ledgers::of(&self.registry));
        ledgers
    }

    /// Writes down what has changed, now and again.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut every = tokio::time::interval(INTERVAL);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut has_failed = false;
        loop {
            every.tick().await;
            let book = self.clone();
            let written = tokio::task::spawn_blocking(move || book.write()).await;
            let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
            if let Err(error) = &written
                && !has_failed
            {
                tracing::warn!(%error, "the ledgers cannot be written down; it is tried again");
            }
            has_failed = written.is_err();
        }
    }

    /// Writes down the last counts, and brings them to the disk.
    pub(crate) fn close(&self) {
        if let Err(error) = self.write().and_then(|()| self.store.sync()) {
            tracing::error!(%error, "the ledgers cannot be written down");
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now().without_unfinished();
        if *written != now {
            let text = serde_json::to_vec(&now).map_err(io::Error::other)?;
            self.store.save(&text)?;
            *written = now;
        }
        Ok(())
    }
}
