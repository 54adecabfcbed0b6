//! Where other threads ask for a reload, and see which config the process runs by and how it came to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use actix::prelude::Recipient;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use veltrix_actors::mailbox;

use super::Reload;
use super::plan::Plan;
use crate::config::{Config, Problems};

/// Entries of the history that are kept.
const HISTORY_MAX: usize = 100;

/// What became of a reload.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The process runs by it.
    Applied {
        version: String,
        plan: Plan,
        warnings: Problems,
    },
    /// It was only asked, and can be taken over.
    Possible {
        version: String,
        plan: Plan,
        warnings: Problems,
    },
    /// It is what the process runs by already.
    Unchanged { version: String },
    /// Everything is as before.
    Refused(Refusal),
}

/// Why a config is not taken over.
#[derive(Debug)]
pub(crate) enum Refusal {
    Invalid(Problems),
    /// These keys cannot change while the process runs.
    Fixed(Vec<String>),
    /// It injects faults, which the command line does not allow.
    Faults,
    /// Something new could not be started.
    Failed(String),
    /// The process is not up yet, or drains.
    Draining,
}

impl Refusal {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Invalid(problems) => problems.to_string().trim_end().to_owned(),
            Self::Fixed(keys) => format!(
                "these keys cannot change while the process runs, start it anew: {}",
                keys.join(", ")
            ),
            Self::Faults => {
                "the config injects faults, and the process was started without --allow-faults"
                    .to_owned()
            }
            Self::Failed(reason) => format!("what is new cannot be started: {reason}"),
            Self::Draining => "the process is starting or draining".to_owned(),
        }
    }
}

impl Answer {
    fn result(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "applied",
            Self::Possible { .. } => "possible",
            Self::Unchanged { .. } => "unchanged",
            Self::Refused(_) => "refused",
        }
    }

    pub(super) fn log(&self, trigger: &'static str) {
        match self {
            Self::Refused(refusal) => tracing::error!(
                trigger,
                "the config is not reloaded, everything goes on as before: {}",
                refusal.text()
            ),
            Self::Unchanged { version } => {
                tracing::info!(trigger, version, "the config has not changed");
            }
            Self::Applied { warnings, .. } if !warnings.is_empty() => {
                tracing::warn!(trigger, "{}", warnings.to_string().trim_end());
            }
            Self::Applied { .. } | Self::Possible { .. } => {}
        }
    }

    pub(super) fn entry(&self, trigger: &'static str) -> Entry {
        let (version, detail) = match self {
            Self::Applied { version, .. }
            | Self::Possible { version, .. }
            | Self::Unchanged { version } => (version.as_str(), None),
            Self::Refused(refusal) => ("", Some(refusal.text())),
        };
        let entry = Entry::new(trigger, version, self.result(), detail);
        match self {
            Self::Applied { plan, .. } => Entry {
                changes: Some(plan.to_json()),
                ..entry
            },
            _ => entry,
        }
    }

    /// What the API answers when it is no refusal.
    pub(crate) fn to_json(&self) -> Value {
        let result = self.result();
        match self {
            Self::Applied {
                version,
                plan,
                warnings,
            }
            | Self::Possible {
                version,
                plan,
                warnings,
            } => json!({
                "result": result, "version": version, "changes": plan.to_json(), "warnings": warnings,
            }),
            Self::Unchanged { version } => json!({ "result": result, "version": version }),
            Self::Refused(refusal) => json!({ "result": result, "detail": refusal.text() }),
        }
    }
}

/// One thing that happened to the config.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    at: SystemTime,
    trigger: &'static str,
    version: String,
    result: &'static str,
    detail: Option<String>,
    changes: Option<Value>,
}

impl Entry {
    pub(super) fn new(
        trigger: &'static str,
        version: &str,
        result: &'static str,
        detail: Option<String>,
    ) -> Self {
        Self {
            at: SystemTime::now(),
            trigger,
            version: version.to_owned(),
            result,
            detail,
            changes: None,
        }
    }

    fn to_json(&self) -> Value {
        let mut entry = Map::new();
        entry.insert("at".to_owned(), time(self.at));
        entry.insert("trigger".to_owned(), self.trigger.into());
        entry.insert("result".to_owned(), self.result.into());
        if !self.version.is_empty() {
            entry.insert("version".to_owned(), self.version.as_str().into());
        }
        if let Some(changes) = &self.changes {
            entry.insert("changes".to_owned(), changes.clone());
        }
        if let Some(detail) = &self.detail {
            entry.insert("detail".to_owned(), detail.as_str().into());
        }
        Value::Object(entry)
    }
}

fn time(at: SystemTime) -> Value {
    humantime::format_rfc3339_millis(at).to_string().into()
}

/// What the process runs by.
#[derive(Clone)]
pub(crate) struct Applied {
    pub(crate) config: Arc<Config>,
    at: SystemTime,
    /// It is watched until then.
    probation_until: Option<SystemTime>,
}

impl Applied {
    fn new(config: &Arc<Config>, probation: Option<Duration>) -> Self {
        let at = SystemTime::now();
        Self {
            config: config.clone(),
            at,
            probation_until: probation.map(|time| at + time),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "version": self.config.version,
            "applied_at": time(self.at),
            "probation_until": self.probation_until.map(time),
            "config": self.config.written.shown(),
        })
    }
}

/// The desk of the config actor.
pub(crate) struct ReloadDesk(Mutex<State>);

struct State {
    actor: Option<Recipient<Reload>>,
    applied: Applied,
    history: VecDeque<Entry>,
    /// Results, and how often each came about.
    counts: Vec<(&'static str, u64)>,
}

impl ReloadDesk {
    pub(crate) fn new(config: &Arc<Config>) -> Arc<Self> {
        let start = Entry::new("start", &config.version, "applied", None);
        let results = ["applied", "unchanged", "refused", "rolled-back"];
        Arc::new(Self(Mutex::new(State {
            actor: None,
            applied: Applied::new(config, None),
            history: VecDeque::from([start]),
            counts: results.map(|result| (result, 0)).to_vec(),
        })))
    }

    /// Has the config read again.
    pub(crate) async fn reload(&self, trigger: &'static str, is_dry_run: bool) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.order(Reload {
            trigger,
            is_dry_run,
            answer: Some(answer),
        });
        let gone = |_| Answer::Refused(Refusal::Draining);
        answered.await.unwrap_or_else(gone)
    }

    pub(super) fn order(&self, order: Reload) {
        let actor = self.lock().actor.clone();
        if let Some(actor) = actor {
            mailbox::control(&actor, order);
        }
    }

    pub(crate) fn applied(&self) -> Applied {
        self.lock().applied.clone()
    }

    /// The latest first.
    pub(crate) fn history(&self) -> Value {
        let state = self.lock();
        state.history.iter().rev().map(Entry::to_json).collect()
    }

    /// How often each result came about.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        self.lock().counts.clone()
    }

    pub(super) fn open(&self, actor: Recipient<Reload>) {
        self.lock().actor = Some(actor);
    }

    pub(super) fn apply(&self, config: &Arc<Config>, probation: Option<Duration>) {
        self.lock().applied = Applied::new(config, probation);
    }

    /// The probation is over.
    pub(super) fn confirm(&self) {
        self.lock().applied.probation_until = None;
    }

    pub(super) fn note(&self, entry: Entry) {
        let mut state = self.lock();
        let mut counts = state.counts.iter_mut();
        if let Some((_, count)) = counts.find(|(result, _)| *result == entry.result) {
            *count += 1;
        }
        if state.history.len() == HISTORY_MAX {
            state.history.pop_front();
        }
        state.history.push_back(entry);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers whoever asked, if somebody did.
pub(super) fn answer(to: Option<oneshot::Sender<Answer>>, answer: Answer) {
    if let Some(to) = to
        && to.send(answer).is_err()
    {
        tracing::debug!("nobody waits for the end of the reload any more");
    }
}
