//! The components as children of their supervisors, one by one: what a start and a reload do alike.

use std::sync::Arc;

use actix_rt::ArbiterHandle;
use veltrix_actors::mailbox::Inlet;
use veltrix_actors::{
    Breaker, ChildSpec, KeySelector, LaneSlot, LaneSpec, Restart, SinkSpec, Successor, Target,
    Watched, WatchedSink, start_lane, start_sink,
};

use super::arbiters::Arbiters;
use super::translate::{backoff, breaker, key, restart};
use super::tree::{HANG_TIMEOUT, SHUTDOWN, Tree, child, supervisor_child};
use crate::config::{self, Config, HandlerConfig, SinkConfig};

/// Makes a child's spec where its supervisor lives.
pub(super) type MakeChild = Box<dyn FnOnce() -> ChildSpec + Send>;

/// The places of one version of a handler.
#[derive(Clone)]
pub(super) struct Lanes {
    key: KeySelector,
    pub(super) slots: Vec<Arc<LaneSlot>>,
    /// Their thread is nobody else's.
    is_isolated: bool,
}

impl Lanes {
    pub(super) fn new(handler: &HandlerConfig, arbiters: &mut Arbiters) -> Self {
        let is_isolated = handler.is_isolated();
        let workers = arbiters.for_lanes(handler.lane_count(), is_isolated);
        Self {
            key: key(&handler.key),
            slots: workers.into_iter().map(LaneSlot::new).collect(),
            is_isolated,
        }
    }

    /// What orders the events, and where they go in.
    pub(super) fn way_in(&self) -> (KeySelector, Vec<Arc<Inlet>>) {
        let inlets = self.slots.iter().map(|slot| slot.inlet().clone());
        (self.key.clone(), inlets.collect())
    }

    /// As those who take over what an earlier version has left.
    pub(super) fn as_successor(&self) -> Successor {
        let (key, lanes) = self.way_in();
        Successor::Lanes { key, lanes }
    }

    pub(super) fn hand_over(&self, successor: &Successor) {
        for slot in &self.slots {
            slot.hand_over(successor.clone());
        }
    }

    /// To be called once their supervisor has let them go: those that have not ended hang.
    pub(super) fn leave_hung(&self) {
        self.slots.iter().for_each(|slot| slot.leave_hung());
    }

    /// To be called once their actors are gone.
    pub(super) fn stop_threads(&self) {
        if self.is_isolated {
            self.slots.iter().for_each(|slot| slot.stop_thread());
        }
    }
}

impl Tree {
    /// A sink under its supervisor. One that blocks gets a thread of its own.
    pub(super) fn sink_child(&mut self, sink: &SinkConfig) -> MakeChild {
        let spec = SinkSpec {
            name: sink.name.as_str().into(),
            factory: sink.factory.clone(),
            dead_letters: self.dead_letters.clone(),
            registry: self.registry.clone(),
        };
        let inlet = self.sinks[&sink.name].inlet.clone();
        let arbiter = self.thread("sinks", &sink.name, sink.factory.is_blocking());
        Box::new(move || {
            let name = spec.name.clone();
            child(&name, Restart::Permanent, SHUTDOWN, move |lifeline| {
                start_sink(spec.clone(), inlet.clone(), &arbiter, lifeline);
            })
        })
    }

    /// A handler: the supervisor of its lanes.
    pub(super) fn handler_child(&self, config: &Config, handler: &HandlerConfig) -> MakeChild {
        let spec = self.lane_spec(config, handler);
        let lanes = self.lanes[&handler.name].slots.clone();
        let (supervision, registry) = (handler.supervision.clone(), self.registry.clone());
        Box::new(move || {
            let (name, restart) = (spec.handler.clone(), restart(&supervision));
            supervisor_child(&name, &supervision, registry, None, move || {
                lanes
                    .iter()
                    .enumerate()
                    .map(|(number, lane)| lane_child(&spec, restart, number, lane))
                    .collect()
            })
        })
    }

    fn lane_spec(&self, config: &Config, handler: &HandlerConfig) -> LaneSpec {
        let target = |target: &config::Target| match target {
            config::Target::Router => Target::of(&self.router),
            config::Target::Sink(name) => self.sinks[name].clone(),
        };
        LaneSpec {
            service: config.service.name.as_str().into(),
            handler: handler.name.as_str().into(),
            factory: handler.factory.clone(),
            targets: handler.to.iter().map(target).collect(),
            dead_letters: self.dead_letters.clone(),
            unmatched: self.unmatched(config),
            attempts: handler.supervision.attempts,
            deadline: handler.supervision.deadline,
            backoff: backoff(&handler.supervision),
            breaker: Some(Arc::new(Breaker::new(breaker(&handler.supervision)))),
            types: self.types.clone(),
            budget: self.budget.clone(),
            registry: self.registry.clone(),
        }
    }

    /// Puts the handler's lanes under the watchdog.
    pub(super) fn watch_handler(&self, handler: &HandlerConfig) {
        for (lane, slot) in self.lanes[&handler.name].slots.iter().enumerate() {
            self.watch.add_lane(Watched {
                slot: slot.clone(),
                handler: handler.name.as_str().into(),
                stats: self.registry.handler(&handler.name),
                lane,
                deadline: handler.supervision.deadline.unwrap_or(HANG_TIMEOUT),
            });
        }
    }

    pub(super) fn watch_sink(&self, name: &str) {
        self.watch.add_sink(WatchedSink {
            name: name.into(),
            path: format!("sinks/{name}"),
            registry: self.registry.clone(),
        });
    }

    /// The thread of a source or sink: one of its own if it blocks, the main one if not. One of its own that it had before
    /// must be stopped first.
    pub(super) fn thread(&mut self, role: &str, name: &str, is_blocking: bool) -> ArbiterHandle {
        let arbiter = Arbiters::for_io(is_blocking);
        if is_blocking {
            self.threads
                .insert(format!("{role}/{name}"), arbiter.clone());
        }
        arbiter
    }

    /// Ends the thread of a source or sink that is gone, if it had one of its own.
    pub(super) fn stop_thread(&mut self, role: &str, name: &str) {
        if let Some(thread) = self.threads.remove(&format!("{role}/{name}")) {
            thread.stop();
        }
    }
}

fn lane_child(spec: &LaneSpec, restart: Restart, number: usize, slot: &Arc<LaneSlot>) -> ChildSpec {
    let (spec, slot) = (spec.clone(), slot.clone());
    child(&number.to_string(), restart, SHUTDOWN, move |lifeline| {
        start_lane(spec.clone(), number, &slot, lifeline);
    })
}
