//! The account of all injected faults: counted, logged within a rate, and written to a file if there is one.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::event::Event;
use crate::stats::Registry;

/// Injected faults that are logged one by one each second; beyond, only counted.
const LOGGED_PER_SECOND_MAX: u32 = 10;

/// Where faults are accounted for.
pub(crate) struct FaultLog {
    seed: u64,
    registry: Arc<Registry>,
    /// Locked, because faults happen on all threads.
    state: Mutex<LogState>,
}

struct LogState {
    second: Instant,
    logged: u32,
    unlogged: u64,
    file: Option<Box<dyn Write + Send>>,
    slowed: FxHashSet<(String, usize)>,
}

/// A fault that happens to an event.
pub(super) struct Injected<'a> {
    pub(super) at: &'a str,
    /// Its injection's place in the plan.
    pub(super) injection: usize,
    pub(super) action: &'static str,
    pub(super) event: &'a Event<'a>,
    pub(super) lane: Option<usize>,
}

/// A line of the fault log. It has no time, so that two runs with one seed can be compared.
#[derive(Serialize)]
struct Line<'a> {
    seed: u64,
    at: &'a str,
    injection: usize,
    action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<usize>,
}

impl std::fmt::Debug for FaultLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = formatter.debug_struct("FaultLog");
        out.field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl FaultLog {
    pub(super) fn new(
        seed: u64,
        registry: Arc<Registry>,
        file: Option<Box<dyn Write + Send>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            seed,
            registry,
            state: Mutex::new(LogState {
                second: Instant::now(),
                logged: 0,
                unlogged: 0,
                file,
                slowed: FxHashSet::default(),
            }),
        })
    }

    pub(super) fn injected(&self, fault: &Injected<'_>) {
        let Injected {
            at,
            injection,
            action,
            event,
            lane,
        } = *fault;
        self.registry.fault_injected(at, action);
        let (source, id) = (event.source(), event.id());
        let line = Line {
            seed: self.seed,
            at,
            injection,
            action,
            source: Some(&source),
            id: Some(&id),
            lane,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.write(&line);
        if let Some(unlogged) = state.may_log() {
            tracing::warn!(
                seed = self.seed,
                at,
                injection,
                action,
                id = &*id,
                source = &*source,
                lane,
                unlogged,
                "injected a fault"
            );
        }
    }

    /// Counts an event that a slow point held up; which ones it holds up is a matter of time, so only the first is told of.
    pub(super) fn slowed(&self, at: &str, injection: usize) {
        self.registry.fault_injected(at, "slow");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.slowed.insert((at.to_owned(), injection)) {
            let line = Line {
                seed: self.seed,
                at,
                injection,
                action: "slow",
                source: None,
                id: None,
                lane: None,
            };
            state.write(&line);
            tracing::warn!(
                seed = self.seed,
                at,
                injection,
                "injected a fault: events are slowed down"
            );
        }
    }
}

impl LogState {
    fn write(&mut self, line: &Line<'_>) {
        let Some(file) = &mut self.file else { return };
        let written = serde_json::to_string(line)
            .map_err(std::io::Error::from)
            .and_then(|line| writeln!(file, "{line}"));
        if let Err(error) = written {
            tracing::error!(%error, "cannot write the fault log, it ends here");
            self.file = None;
        }
    }

    /// How many were not logged before this one, if this one may be.
    fn may_log(&mut self) -> Option<u64> {
        if self.second.elapsed().as_secs() >= 1 {
            self.second = Instant::now();
            self.logged = 0;
        }
        if self.logged == LOGGED_PER_SECOND_MAX {
            self.unlogged += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.unlogged))
    }
}
