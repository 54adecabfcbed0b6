//! What every source, handler and sink counts. Written by one actor, read from outside: hence atomics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use dashmap::DashMap;
use tokio::sync::{Notify, watch};

use crate::actor_status::ActorStatuses;
use crate::counters::{Counter, Gauge, TimeHistogram};
use crate::dead_letter_stats::DeadLetterStats;
use crate::journal_stats::JournalStats;
use crate::sink_stats::SinkStats;
use crate::source_stats::{InFlight, SourceStats};

/// One handler's counts, over all its lanes.
#[derive(Debug, Default)]
pub struct HandlerStats {
    /// Events handed to a lane.
    pub received: Counter,
    /// Events that `when` let through.
    pub matched: Counter,
    /// Events whose `when` was false.
    pub filtered: Counter,
    /// Events whose `when` names a path that they do not have (counted as false).
    pub missing: Counter,
    /// Results emitted (each counted once, whatever the number of sinks).
    pub emitted: Counter,
    /// Failed attempts.
    pub errors: Counter,
    /// Panics among the failed attempts.
    pub panics: Counter,
    /// From a panic until a fresh handler was built.
    pub rebuild_time: TimeHistogram,
    /// Calls that did not return within the deadline.
    pub hangs: Counter,
    /// How often the breaker opened.
    pub pauses: Counter,
    /// Attempts after the first.
    pub retries: Counter,
    /// Events given up.
    pub dead_lettered: Counter,
    /// Nanoseconds spent in the handler.
    pub busy_nanoseconds: Counter,
    /// Nanoseconds that batches waited in the lanes' mailboxes, weighted by their events.
    pub queue_nanoseconds: Counter,
}

/// The sinks that nobody will take anything from any more, and why.
pub type GoneSinks = BTreeMap<String, String>;

/// The live registry of everything that counts, read by the admin server, the status line and the closing summary.
#[derive(Debug, Default)]
pub struct Registry {
    /// Over all sources.
    pub in_flight: Arc<InFlight>,
    /// Batches that senders may not add to until their receiver took them.
    pub credits_in_use: Gauge,
    /// Actors started again after they failed.
    pub restarts: Counter,
    /// What the journal counts.
    pub journal: JournalStats,
    /// What the store of dead letters counts.
    pub dead_letter_store: DeadLetterStats,
    /// The actors of the tree.
    pub actors: ActorStatuses,
    sources: DashMap<String, Arc<SourceStats>>,
    source_count: AtomicUsize,
    /// Sources that take in no more, and whoever waits for the last of them.
    ended_sources: AtomicUsize,
    all_ended: Notify,
    drain_deadline: OnceLock<Instant>,
    handlers: DashMap<String, Arc<HandlerStats>>,
    sinks: DashMap<String, Arc<SinkStats>>,
    gone_sinks: watch::Sender<GoneSinks>,
    dropped: DashMap<&'static str, u64>,
    dead_letters: DashMap<(String, &'static str), u64>,
    faults: DashMap<(String, &'static str), u64>,
    config_version: RwLock<Arc<str>>,
}

impl Registry {
    /// The counts of a source that is to take events in, or does; new at the first call.
    pub fn source(&self, name: &str) -> Arc<SourceStats> {
        let source = self.former_source(name);
        if source.expect() {
            self.source_count.fetch_add(1, Ordering::AcqRel);
        }
        source
    }

    /// The source is none of those that are waited for any more. What it has counted stays.
    pub fn remove_source(&self, name: &str) {
        let Some(source) = self.sources.get(name) else {
            return;
        };
        let has_ended = source.begin();
        if source.forget() {
            self.source_count.fetch_sub(1, Ordering::AcqRel);
            if has_ended {
                self.ended_sources.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// The source takes events in again, if it had ended.
    pub fn begin_source(&self, name: &str) {
        if self.source(name).begin() {
            self.ended_sources.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The counts of a source whose events a process before this one accepted. It is none of those that are waited for
    /// if the config has it no more.
    pub(crate) fn former_source(&self, name: &str) -> Arc<SourceStats> {
        let new = || Arc::new(SourceStats::new(name, self.in_flight.clone()));
        self.sources
            .entry(name.to_owned())
            .or_insert_with(new)
            .clone()
    }

    /// Counts that nobody sees by name, and that are in flight with all others.
    pub(crate) fn unnamed_source(&self) -> Arc<SourceStats> {
        Arc::new(SourceStats::new("", self.in_flight.clone()))
    }

    /// A source takes in no more, for good.
    pub(crate) fn source_ended(&self, source: &SourceStats) {
        if !source.end() {
            self.ended_sources.fetch_add(1, Ordering::AcqRel);
        }
        if self.is_input_over() {
            self.all_ended.notify_waiters();
        }
    }

    /// No source is started any more, those that wait for it included; what they have left is waited for until then.
    pub fn end_input(&self, wait_until: Instant) {
        self.drain_deadline.get_or_init(|| wait_until);
        let all = self.source_count();
        self.ended_sources.fetch_add(all, Ordering::AcqRel);
        self.all_ended.notify_waiters();
    }

    /// Waits until nothing is in flight, at most as long as was said at the input's end; `None` if something is left.
    pub(crate) async fn drained(&self) -> Option<()> {
        let until = *self.drain_deadline.get()?;
        let drained = tokio::time::timeout_at(until.into(), self.in_flight.drained());
        drained.await.ok()
    }

    /// Whether no source is started any more: the process is to stop.
    pub fn is_stopping(&self) -> bool {
        self.drain_deadline.get().is_some()
    }

    /// Whether the process is to stop and nothing is in flight, so that nothing will make room any more.
    pub(crate) fn is_stopped_and_idle(&self) -> bool {
        self.is_stopping() && self.in_flight.get() == 0
    }

    /// Whether the process is to stop and the next start brings all that is in flight again: nothing is lost by leaving it.
    pub(crate) fn keeps_what_is_left(&self) -> bool {
        self.is_stopping() && !self.in_flight.has_any_in_memory_only()
    }

    /// Whether no source takes in any more: what waits now for better times waits in vain.
    pub(crate) fn is_input_over(&self) -> bool {
        self.ended_sources.load(Ordering::Acquire) >= self.source_count()
    }

    /// Waits until no source takes in any more.
    pub(crate) async fn input_over(&self) {
        let all_ended = self.all_ended.notified();
        tokio::pin!(all_ended);
        // Registered before the look, so that the last end in between is not missed.
        all_ended.as_mut().enable();
        if !self.is_input_over() {
            all_ended.await;
        }
    }

    /// How many sources there are.
    pub(crate) fn source_count(&self) -> usize {
        self.source_count.load(Ordering::Relaxed)
    }

    /// The handler's counts, new at the first call.
    pub fn handler(&self, name: &str) -> Arc<HandlerStats> {
        self.handlers.entry(name.to_owned()).or_default().clone()
    }

    /// The sink's counts, new at the first call.
    pub fn sink(&self, name: &str) -> Arc<SinkStats> {
        self.sinks.entry(name.to_owned()).or_default().clone()
    }

    /// Nobody will take anything from the sink any more.
    pub(crate) fn sink_gone(&self, name: &str, reason: String) {
        self.gone_sinks.send_modify(|gone| {
            gone.entry(name.to_owned()).or_insert(reason);
        });
    }

    /// Sees each sink that is gone, for whoever can stop the process.
    pub fn gone_sinks(&self) -> watch::Receiver<GoneSinks> {
        self.gone_sinks.subscribe()
    }

    /// Counts events dropped by the rule of that name.
    pub fn drop_by_rule(&self, rule: &'static str, count: usize) {
        *self.dropped.entry(rule).or_default() += count as u64;
    }

    /// Counts dead letters of a branch (`handler.NAME`, `sink.NAME` or `router`).
    pub fn dead_letter(&self, branch: &str, class: &'static str, count: usize) {
        *self
            .dead_letters
            .entry((branch.to_owned(), class))
            .or_default() += count as u64;
    }

    /// The version of the config that the process runs by.
    pub fn config_version(&self) -> Arc<str> {
        let version = self.config_version.read();
        version.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process runs by another config.
    pub fn set_config_version(&self, version: &str) {
        let known = self.config_version.write();
        *known.unwrap_or_else(PoisonError::into_inner) = version.into();
    }

    /// Counts an injected fault by its point and action.
    pub(crate) fn fault_injected(&self, at: &str, action: &'static str) {
        *self.faults.entry((at.to_owned(), action)).or_default() += 1;
    }

    /// Injected faults by point and action.
    pub fn faults(&self) -> Vec<((String, &'static str), u64)> {
        sorted(
            self.faults
                .iter()
                .map(|entry| (entry.key().clone(), *entry.value())),
        )
    }

    /// All sources, sorted by name.
    pub fn sources(&self) -> Vec<(String, Arc<SourceStats>)> {
        sorted_map(&self.sources)
    }

    /// All handlers, sorted by name.
    pub fn handlers(&self) -> Vec<(String, Arc<HandlerStats>)> {
        sorted_map(&self.handlers)
    }

    /// All sinks, sorted by name.
    pub fn sinks(&self) -> Vec<(String, Arc<SinkStats>)> {
        sorted_map(&self.sinks)
    }

    /// Events dropped by named rules.
    pub fn dropped(&self) -> Vec<(&'static str, u64)> {
        sorted(
            self.dropped
                .iter()
                .map(|entry| (*entry.key(), *entry.value())),
        )
    }

    /// Dead letters by branch and class.
    pub fn dead_letters(&self) -> Vec<((String, &'static str), u64)> {
        sorted(
            self.dead_letters
                .iter()
                .map(|entry| (entry.key().clone(), *entry.value())),
        )
    }

    /// Whether no ledger shows a loss.
    pub fn is_balanced(&self) -> bool {
        self.sources.iter().all(|entry| entry.value().is_balanced())
            && self.sinks.iter().all(|entry| entry.value().is_balanced())
    }
}

fn sorted<K: Ord, V>(entries: impl Iterator<Item = (K, V)>) -> Vec<(K, V)> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

fn sorted_map<T>(map: &DashMap<String, Arc<T>>) -> Vec<(String, Arc<T>)> {
    sorted(
        map.iter()
            .map(|entry| (entry.key().clone(), Arc::clone(entry.value()))),
    )
}
