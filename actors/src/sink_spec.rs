//! What a sink is started with, and how it is built anew in place.

use std::sync::Arc;

use crate::dead_letter::{Attempt, Attempts, Failure, FailureClass};
use crate::guard::{self, Panic};
use crate::mailbox::Inlet;
use crate::sink::{AnySink, SinkFactory};
use crate::sink_actor::SINK_ATTEMPTS_MAX;
use crate::stats::Registry;
use crate::supervision::StartError;

/// What a sink is started with.
#[derive(Clone)]
pub struct SinkSpec {
    /// The sink's name.
    pub name: Arc<str>,
    /// Makes the sink.
    pub factory: Arc<dyn SinkFactory>,
    /// Where dead letters go.
    pub dead_letters: Arc<Inlet>,
    /// The counts.
    pub registry: Arc<Registry>,
}

impl SinkSpec {
    pub(crate) fn build(&self) -> Result<AnySink, StartError> {
        match guard::guard("sink", &self.name, || self.factory.build()) {
            Ok(built) => built,
            Err(panic) => Err(StartError(format!("the factory panicked: {panic}"))),
        }
    }

    /// Puts a fresh sink in the place of one that panicked, which is dropped before.
    pub(crate) fn rebuild<S: ?Sized>(
        &self,
        sink: &mut Option<Box<S>>,
        of_its_kind: fn(AnySink) -> Option<Box<S>>,
    ) -> Result<(), StartError> {
        // The panic itself is logged by its guard, within a rate.
        tracing::debug!(sink = &*self.name, "the sink is built anew");
        self.drop_sink(sink);
        *sink = of_its_kind(self.build()?);
        match sink {
            Some(_) => Ok(()),
            None => Err(StartError("it became a sink of another kind".to_owned())),
        }
    }

    /// Drops a sink. It is logged if that panics; what is left of the sink is lost then.
    pub(crate) fn drop_sink<S: ?Sized>(&self, sink: &mut Option<Box<S>>) {
        let sink = sink.take();
        drop(guard::guard("sink", &self.name, || drop(sink)));
    }

    pub(crate) fn failure(&self, attempts: Attempts) -> Failure {
        Failure::after(&format!("sink.{}", self.name).into(), attempts)
    }
}

/// Adds a panic to the attempts at an event, and takes them out once there are no more left.
pub(crate) fn add_panic<P: PartialEq>(
    failing: &mut Vec<(P, Attempts)>,
    at: P,
    panic: Panic,
) -> Option<Attempts> {
    let known = failing.iter().position(|(place, _)| *place == at);
    let number = known.unwrap_or_else(|| {
        failing.push((at, Attempts::default()));
        failing.len() - 1
    });
    let attempt = Attempt::failed(FailureClass::Panic, &panic.message);
    let attempts = &mut failing[number].1;
    attempts.add(attempt.with_backtrace(panic.backtrace));
    (attempts.count() >= SINK_ATTEMPTS_MAX).then(|| failing.swap_remove(number).1)
}
