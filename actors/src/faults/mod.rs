//! Fault injection: a seeded plan, decorators that make shipped code fail by it, and an account of every injected fault.
//!
//! Faults act inside the code paths that run in production: a decorated factory makes handlers, sinks and sources that
//! misbehave where the real ones would. Where nothing is planned, nothing is decorated.

mod corruption;
mod draw;
mod handler;
mod log;
mod plan;
mod point;
mod sink;
mod source;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::time::Instant;

pub use plan::{FaultAction, FaultPlan, Injection, Only, PointPattern, When};
pub use point::FaultPoint;
pub(crate) use source::{FaultySource, SourceFaults};

use crate::handler::HandlerFactory;
use crate::sink::SinkFactory;
use crate::source::SourceFactory;
use crate::stats::Registry;
use log::FaultLog;

/// The payload of a panic that no guard catches: it ends the whole actor.
#[derive(Debug)]
pub(crate) struct AbortActor;

/// A plan in action. The times in it are counted from when it was made.
#[derive(Debug)]
pub struct Faults {
    plan: FaultPlan,
    /// How often each injection happened.
    happened: Vec<Arc<AtomicU64>>,
    log: Arc<FaultLog>,
    started: Instant,
}

impl Faults {
    /// Begins. Every fault is counted in `registry`, and is a line of JSON in `file`.
    pub fn new(
        plan: FaultPlan,
        registry: Arc<Registry>,
        file: Option<Box<dyn Write + Send>>,
    ) -> Self {
        Self {
            happened: plan.injections.iter().map(|_| Arc::default()).collect(),
            log: FaultLog::new(plan.seed, registry, file),
            plan,
            started: Instant::now(),
        }
    }

    /// The factory of the handler called `name`, decorated if anything is planned there.
    pub fn handler(&self, name: &str, factory: Arc<dyn HandlerFactory>) -> Arc<dyn HandlerFactory> {
        match self.point(&format!("handler.{name}")) {
            Some(point) => Arc::new(handler::FaultyHandlerFactory::new(point, factory)),
            None => factory,
        }
    }

    /// The factory of the sink called `name`, decorated if anything is planned there.
    pub fn sink(&self, name: &str, factory: Arc<dyn SinkFactory>) -> Arc<dyn SinkFactory> {
        match self.point(&format!("sink.{name}")) {
            Some(point) => Arc::new(sink::FaultySinkFactory::new(point, factory)),
            None => factory,
        }
    }

    /// The factory of the source called `name`, decorated if anything is planned there.
    pub fn source(&self, name: &str, factory: Arc<dyn SourceFactory>) -> Arc<dyn SourceFactory> {
        match self.point(&format!("source.{name}")) {
            Some(point) => Arc::new(source::FaultySourceFactory::new(point, factory)),
            None => factory,
        }
    }

    /// What is planned for the router.
    pub fn router(&self) -> Option<Arc<FaultPoint>> {
        self.point("router")
    }

    fn point(&self, name: &str) -> Option<Arc<FaultPoint>> {
        let planned = self.plan.injections.iter().zip(&self.happened).enumerate();
        let here = planned
            .filter(|(_, (injection, _))| {
                injection.at.matches(name) && injection.action.is_possible_at(name)
            })
            .map(|(number, (injection, happened))| {
                (number, injection.clone(), Arc::clone(happened))
            });
        FaultPoint::new(name, self.plan.seed, here, self.log.clone(), self.started)
    }
}
