//! Sinks that fail by plan, inside the guard of their actors.

use std::sync::Arc;

use futures::future::LocalBoxFuture;

use super::point::{End, FaultPoint, Strike, abort_actor};
use crate::batch::{Arena, EventBatch};
use crate::event::Event;
use crate::memory::MemoryBudget;
use crate::origin::Origin;
use crate::sink::{
    AnySink, AsyncSink, Consignment, DeliveryError, FlushError, Held, RetryPolicy, Sink,
    SinkFactory,
};
use crate::supervision::StartError;
use crate::written::Written;

/// Makes sinks that fail by plan.
pub(super) struct FaultySinkFactory {
    point: Arc<FaultPoint>,
    inner: Arc<dyn SinkFactory>,
}

impl FaultySinkFactory {
    pub(super) fn new(point: Arc<FaultPoint>, inner: Arc<dyn SinkFactory>) -> Self {
        Self { point, inner }
    }
}

impl SinkFactory for FaultySinkFactory {
    fn build(&self) -> Result<AnySink, StartError> {
        let point = self.point.clone();
        Ok(match self.inner.build()? {
            AnySink::Sync(inner) => AnySink::Sync(Box::new(FaultySink {
                point,
                inner,
                fails_next_flush: false,
            })),
            AnySink::Async(inner) => AnySink::Async(Box::new(FaultyAsyncSink { point, inner })),
        })
    }

    fn is_blocking(&self) -> bool {
        // One that is held up by plan must not hold up the router, which shares the thread of those that do not block.
        self.inner.is_blocking() || self.point.takes_time()
    }

    fn retry(&self) -> RetryPolicy {
        self.inner.retry()
    }
}

struct FaultySink {
    point: Arc<FaultPoint>,
    inner: Box<dyn Sink>,
    fails_next_flush: bool,
}

impl Sink for FaultySink {
    fn append(&mut self, event: &Event<'_>) -> Result<(), String> {
        let strike = self.point.strike(event, None);
        strike.block();
        match strike.end {
            None => {}
            Some(End::Panic { .. }) => self.point.panic(),
            Some(End::AbortActor) => abort_actor(),
            Some(End::Error { retryable: false }) => return Err(self.point.reason("error")),
            // What is refused here is refused for good; what may be tried again is the flush.
            Some(End::Error { retryable: true }) => self.fails_next_flush = true,
        }
        match strike.corruption {
            None => self.inner.append(event),
            Some(corruption) => {
                let (record, line) = corruption.of(event);
                self.inner.append(&Event::new(&record, &line))
            }
        }
    }

    fn flush(&mut self) -> Result<(), FlushError> {
        if std::mem::take(&mut self.fails_next_flush) {
            return Err(FlushError::Unwritten(self.point.reason("error")));
        }
        self.inner.flush()
    }

    fn written(&mut self, written: Written) {
        self.inner.written(written);
    }

    fn hurry(&mut self) {
        self.inner.hurry();
    }

    fn buffered_bytes(&self) -> usize {
        self.inner.buffered_bytes()
    }
}

struct FaultyAsyncSink {
    point: Arc<FaultPoint>,
    inner: Box<dyn AsyncSink>,
}

impl AsyncSink for FaultyAsyncSink {
    fn deliver(
        &mut self,
        slot: usize,
        mut events: Consignment,
    ) -> LocalBoxFuture<'static, Result<(), DeliveryError>> {
        let mut strike = Strike::default();
        for held in &mut events.events {
            let event = held.0.batch().event(held.1);
            let struck = self.point.strike(&event, Some(slot));
            strike.add(struck);
            if strike.end.is_some() {
                break;
            }
            if let Some(corruption) = struck.corruption {
                let (record, line) = corruption.of(&event);
                *held = (Held::for_trial(alone(record, line)), 0);
            }
        }
        strike.hang();
        let (pause, point) = (strike.pause(), self.point.clone());
        if let Some(end) = strike.end {
            return Box::pin(async move {
                tokio::time::sleep(pause).await;
                Err(fail(&point, end))
            });
        }
        let delivery = self.inner.deliver(slot, events);
        if pause.is_zero() {
            return delivery;
        }
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            delivery.await
        })
    }

    fn slots(&self) -> usize {
        self.inner.slots()
    }

    fn events_per_delivery(&self) -> usize {
        self.inner.events_per_delivery()
    }

    fn bytes_per_delivery(&self) -> usize {
        self.inner.bytes_per_delivery()
    }
}

fn fail(point: &FaultPoint, end: End) -> DeliveryError {
    let reason = point.reason("error");
    match end {
        End::Panic { .. } => point.panic(),
        End::AbortActor => abort_actor(),
        End::Error { retryable: true } => DeliveryError::Retryable {
            reason,
            after: None,
        },
        End::Error { retryable: false } => DeliveryError::Permanent(reason),
    }
}

/// A batch of one changed event that nobody counts: the one as it came is what is held and reported.
fn alone(mut record: crate::event::EventRecord, line: String) -> EventBatch {
    record.arena = 0;
    record.origin = 0;
    let arena = Arc::new(Arena::new(line, &MemoryBudget::new(usize::MAX)));
    EventBatch::from_parts(vec![record], arena, Origin::of_results(1, Vec::new()))
}
