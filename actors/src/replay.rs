//! Events that are sent once more: the mark that they carry, and the ways to the branches that they go to.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use actix::prelude::Recipient;
use rustc_hash::FxHashMap;

use crate::event::Event;
use crate::key::KeySelector;
use crate::lane_spec::Target;
use crate::mailbox::{Inlet, OutletReady};
use crate::members::members;
use crate::outlet::Outlet;
use crate::stats::Registry;

/// The attribute of events that are sent once more: how often.
pub const REPLAYED: &str = "replayed";

/// The source that events count for while they are replayed; no source of a config can be called so.
pub const REPLAY_SOURCE: &str = "veltrix.replay";

/// Where events may be sent once more.
#[derive(Clone)]
pub struct ReplayTargets {
    /// The router.
    pub router: Arc<Inlet>,
    /// By name, what orders a handler's events, and its lanes.
    pub handlers: HashMap<String, (KeySelector, Vec<Arc<Inlet>>)>,
    /// By name.
    pub sinks: HashMap<String, Target>,
}

impl ReplayTargets {
    /// Whether there is such a branch: `handler.NAME`, `sink.NAME` or `router`.
    pub fn has(&self, branch: &str) -> bool {
        match branch.split_once('.') {
            Some(("handler", name)) => self.handlers.contains_key(name),
            Some(("sink", name)) => self.sinks.contains_key(name),
            _ => branch == "router",
        }
    }
}

/// Where events may be sent once more now; a reload changes it.
#[derive(Clone)]
// Shared and locked: changed by a reload, read by the actors that send.
pub struct ReplayDirectory(Arc<RwLock<Arc<ReplayTargets>>>);

impl ReplayDirectory {
    /// A directory of these targets.
    pub fn new(targets: ReplayTargets) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(targets))))
    }

    /// The targets of now.
    pub fn now(&self) -> Arc<ReplayTargets> {
        let targets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&targets)
    }

    /// There are other targets from now on.
    pub fn change(&self, targets: ReplayTargets) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(targets);
    }
}

/// One actor's outlets to the branches that it sends to, made when they are first needed.
pub(crate) struct ReplayOutlets {
    directory: ReplayDirectory,
    /// Those that the outlets belong to; not kept, since what they hold would be kept with them.
    targets: Weak<ReplayTargets>,
    owner: Recipient<OutletReady>,
    registry: Arc<Registry>,
    /// The number of the first outlet, as the owner knows it.
    first_number: usize,
    outlets: Vec<Outlet>,
    /// Per branch, where its first outlet is.
    branches: FxHashMap<Box<str>, usize>,
}

impl ReplayOutlets {
    pub(crate) fn new(
        directory: ReplayDirectory,
        owner: Recipient<OutletReady>,
        registry: &Arc<Registry>,
        first_number: usize,
    ) -> Self {
        Self {
            targets: Arc::downgrade(&directory.now()),
            directory,
            owner,
            registry: Arc::clone(registry),
            first_number,
            outlets: Vec::new(),
            branches: FxHashMap::default(),
        }
    }

    pub(crate) fn targets(&self) -> Arc<ReplayTargets> {
        self.directory.now()
    }

    /// The way of the event to the branch among these targets: to a handler, it is that of the event's key. None if there is
    /// no such branch.
    pub(crate) fn way(
        &mut self,
        targets: &Arc<ReplayTargets>,
        branch: &str,
        event: &Event<'_>,
    ) -> Option<&mut Outlet> {
        if self.targets.as_ptr() != Arc::as_ptr(targets) {
            // What is gathered is sent; those who are gone have successors.
            self.close();
            self.targets = Arc::downgrade(targets);
        }
        let (first, lane) = match branch.split_once('.') {
            Some(("handler", name)) => {
                let (key, lanes) = targets.handlers.get(name)?;
                let lane = (key.hash(event) % lanes.len().max(1) as u64) as usize;
                let inlets: Vec<_> = lanes.iter().map(Target::of).collect();
                (self.open(branch, inlets), lane)
            }
            Some(("sink", name)) => {
                let target = targets.sinks.get(name)?.clone();
                (self.open(branch, vec![target]), 0)
            }
            _ if branch == "router" => {
                let target = Target::of(&targets.router);
                (self.open(branch, vec![target]), 0)
            }
            _ => return None,
        };
        self.outlets.get_mut(first + lane)
    }

    pub(crate) fn flush(&mut self) {
        self.outlets.iter_mut().for_each(Outlet::flush);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.outlets.iter().all(Outlet::is_empty)
    }

    /// Lets go of the branches once nothing is gathered for them: an inlet that is kept keeps all its successors.
    pub(crate) fn close_if_empty(&mut self) {
        if self.is_empty() {
            self.close();
        }
    }

    fn close(&mut self) {
        self.outlets.clear();
        self.branches.clear();
    }

    fn open(&mut self, branch: &str, targets: Vec<Target>) -> usize {
        if let Some(first) = self.branches.get(branch) {
            return *first;
        }
        let first = self.outlets.len();
        for target in targets {
            let number = self.first_number + self.outlets.len();
            let outlet = Outlet::to(&target, self.owner.clone(), number, &self.registry);
            self.outlets.push(outlet);
        }
        self.branches.insert(branch.into(), first);
        first
    }
}

/// What a replay waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing: others shall have their turn.
    Turn,
    /// Time.
    For(Duration),
    /// A returned credit, memory, or the end of what is under way: it is asked again now and then.
    Event,
}

/// At most so many in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    per_second: u32,
    since: Instant,
    pub(crate) sent: u64,
}

impl Pace {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            since: Instant::now(),
            sent: 0,
        }
    }

    /// How long the next one has to wait.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let due = Duration::from_secs_f64(self.sent as f64 / f64::from(self.per_second));
        due.checked_sub(self.since.elapsed())
            .filter(|wait| !wait.is_zero())
    }
}

/// The line of an event, with the mark that it is sent once more; an event that has it counts on.
pub(crate) fn mark_replayed(line: &str) -> String {
    let found = members(line, None)
        .filter(|(name, _)| name == REPLAYED)
        .last();
    match found {
        Some((_, value)) => {
            let count = value.parse::<u32>().unwrap_or(0).saturating_add(1);
            let start = value.as_ptr() as usize - line.as_ptr() as usize;
            let (before, after) = (&line[..start], &line[start + value.len()..]);
            format!("{before}{count}{after}")
        }
        None => {
            let object = line.trim_end();
            let object = object.strip_suffix('}').unwrap_or(object);
            format!("{object},\"{REPLAYED}\":1}}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix::prelude::{Actor, Context, Handler};

    use crate::batch::{Intake, detached_types};

    struct Owner;

    impl Actor for Owner {
        type Context = Context<Self>;
    }

    impl Handler<OutletReady> for Owner {
        type Result = ();

        fn handle(&mut self, _: OutletReady, _: &mut Context<Self>) {}
    }

    fn targets(lane: &Arc<Inlet>) -> ReplayTargets {
        let lanes = (KeySelector::default(), vec![lane.clone()]);
        ReplayTargets {
            router: Inlet::new(),
            handlers: HashMap::from([("h".to_owned(), lanes)]),
            sinks: HashMap::new(),
        }
    }

    #[actix::test]
    async fn who_has_been_replaced_is_not_kept_by_outlets_at_rest() {
        let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
        let mut intake = Intake::over(String::new());
        intake.push_line(line, &mut detached_types()).unwrap();
        let owner = Owner.start().recipient();
        for is_used in [false, true] {
            let lane = Inlet::new();
            let directory = ReplayDirectory::new(targets(&lane));
            let registry = Arc::new(Registry::default());
            let mut outlets = ReplayOutlets::new(directory.clone(), owner.clone(), &registry, 0);
            if is_used {
                let targets = outlets.targets();
                assert!(
                    outlets
                        .way(&targets, "handler.h", &intake.event(0))
                        .is_some()
                );
                outlets.close_if_empty();
            }
            let before = Arc::downgrade(&lane);
            drop(lane);
            assert!(before.upgrade().is_some());
            directory.change(targets(&Inlet::new()));
            assert!(before.upgrade().is_none());
        }
    }

    #[test]
    fn the_mark_is_added_and_counts_on() {
        let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}"#;
        let once = mark_replayed(line);
        assert_eq!(
            once,
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1},"replayed":1}"#
        );
        assert!(mark_replayed(&once).ends_with(r#","replayed":2}"#));
        let foreign = r#"{"replayed":"maybe","id":"1"}"#;
        assert_eq!(mark_replayed(foreign), r#"{"replayed":1,"id":"1"}"#);
    }
}
