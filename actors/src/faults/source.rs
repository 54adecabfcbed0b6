//! Sources that fail by plan, where their events are handed over.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::sync::Notify;

use super::point::{End, FaultPoint, Strike, abort_actor};
use crate::batch::Intake;
use crate::listening::Listening;
use crate::source::{DurabilityKind, Source, SourceFactory};
use crate::source_port::SourcePort;
use crate::supervision::StartError;

/// Makes sources that fail by plan.
pub(super) struct FaultySourceFactory {
    point: Arc<FaultPoint>,
    inner: Arc<dyn SourceFactory>,
}

impl FaultySourceFactory {
    pub(super) fn new(point: Arc<FaultPoint>, inner: Arc<dyn SourceFactory>) -> Self {
        Self { point, inner }
    }
}

impl SourceFactory for FaultySourceFactory {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        Ok(FaultySource::around(
            self.inner.build()?,
            self.point.clone(),
        ))
    }

    fn durabilities(&self) -> &'static [DurabilityKind] {
        self.inner.durabilities()
    }

    fn listening(&self) -> Option<&Listening> {
        self.inner.listening()
    }

    fn is_blocking(&self) -> bool {
        // One that hangs by plan must not take along the router, which shares the thread of those that do not block.
        self.inner.is_blocking() || self.point.hangs()
    }
}

/// A source, or a connection of one, that ends when a fault says so. What it has handed over by then is accepted.
pub(crate) struct FaultySource {
    point: Arc<FaultPoint>,
    inner: Box<dyn Source>,
}

impl FaultySource {
    pub(crate) fn around(inner: Box<dyn Source>, point: Arc<FaultPoint>) -> Box<dyn Source> {
        Box::new(Self { point, inner })
    }
}

impl Source for FaultySource {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        let point = self.point.clone();
        let faults = port.inject(SourceFaults::new(self.point));
        let run = self.inner.run(port);
        Box::pin(async move {
            let ended = tokio::select! {
                biased;
                ended = run => ended,
                () = faults.struck() => Ok(()),
            };
            match faults.end.take() {
                None => ended,
                Some(End::Panic { .. }) => point.panic(),
                Some(End::AbortActor) => abort_actor(),
                Some(End::Error { .. }) => Err(StartError(point.reason("error"))),
            }
        })
    }
}

/// The faults of one running source or connection.
pub(crate) struct SourceFaults {
    point: Arc<FaultPoint>,
    /// The source shall end.
    end: Cell<Option<End>>,
    struck: Notify,
    /// The source shall wait for so long before it takes in more.
    pause: Cell<Duration>,
}

impl SourceFaults {
    fn new(point: Arc<FaultPoint>) -> Self {
        Self {
            point,
            end: Cell::new(None),
            struck: Notify::new(),
            pause: Cell::new(Duration::ZERO),
        }
    }

    pub(crate) fn point(&self) -> &Arc<FaultPoint> {
        &self.point
    }

    /// Decides what happens to the events that are handed over now.
    pub(crate) fn strike(&self, intake: &mut Intake) {
        let mut all = Strike::default();
        let mut corruptions = Vec::new();
        for (index, record) in intake.records.iter().enumerate() {
            let strike = self.point.strike(&intake.event(index), None);
            all.add(strike);
            corruptions.extend(
                strike
                    .corruption
                    .map(|found| (found, record.line_range().start)),
            );
        }
        for (corruption, start) in corruptions {
            corruption.apply(&mut intake.text, start);
        }
        all.hang();
        self.pause.set(self.pause.get() + all.pause());
        if all.end.is_some() {
            self.end.set(self.end.get().or(all.end));
            self.struck.notify_one();
        }
    }

    /// How long the source shall wait, told once.
    pub(crate) fn take_pause(&self) -> Duration {
        self.pause.take()
    }

    async fn struck(&self) {
        self.struck.notified().await;
    }
}
