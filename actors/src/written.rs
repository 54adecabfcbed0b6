//! What a sink has written and is not done with: counts only, so that neither text nor credits are held for it.

use std::ops::Range;
use std::sync::Arc;

use crate::origin::Origin;
use crate::shipment::Shipment;
use crate::sink_stats::SinkStats;

/// Events that a sink has written, and that count as delivered and *done* only once it says so.
///
/// It can wait on any thread, and outlives the sink and its actor: the events are written, so they are nobody else's to write.
/// Dropping it says that they are in doubt: never done, counted, and lost to this process. Where their source is durable
/// they come again when the process is started the next time.
#[derive(Debug)]
#[must_use = "dropping it puts the events in doubt"]
pub struct Written {
    stats: Arc<SinkStats>,
    events: usize,
    bytes: usize,
    /// The pieces written of each intake.
    origins: Vec<(Arc<Origin>, i64)>,
}

impl Written {
    pub(crate) fn nothing(stats: Arc<SinkStats>) -> Self {
        Self {
            stats,
            events: 0,
            bytes: 0,
            origins: Vec::new(),
        }
    }

    /// Adds these events of a batch.
    pub(crate) fn add(&mut self, shipment: &Shipment, events: Range<usize>) {
        if events.is_empty() {
            return;
        }
        self.events += events.len();
        let (batch, copy) = (&shipment.batch, shipment.end(events.clone()));
        for run in batch.records()[events].chunk_by(|a, b| a.origin == b.origin) {
            self.bytes += run.iter().map(|record| record.line_bytes()).sum::<usize>();
            let pieces = i64::try_from(run.len()).expect("a batch holds few events");
            let own = batch.origin(run[0].origin);
            self.count(copy.as_ref().unwrap_or(own), pieces);
        }
    }

    fn count(&mut self, origin: &Arc<Origin>, pieces: i64) {
        match self.origins.last_mut() {
            Some((last, count)) if Arc::ptr_eq(last, origin) => *count += pieces,
            _ => self.origins.push((Arc::clone(origin), pieces)),
        }
    }

    /// Takes in what the same sink has written later.
    pub fn append(&mut self, mut later: Self) {
        self.events += std::mem::take(&mut later.events);
        self.bytes += std::mem::take(&mut later.bytes);
        for (origin, pieces) in later.origins.drain(..) {
            self.count(&origin, pieces);
        }
    }

    /// Number of events.
    pub fn events(&self) -> usize {
        self.events
    }

    /// Bytes of their lines.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Intakes that wait for them; each takes some memory.
    pub fn intakes(&self) -> usize {
        self.origins.len()
    }

    /// The events are delivered and done.
    pub fn done(mut self) {
        self.stats.deliver(std::mem::take(&mut self.events));
        self.stats.bytes.add(self.bytes);
        for (origin, pieces) in self.origins.drain(..) {
            origin.add(-pieces);
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.stats.in_doubt.add(self.events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{EventBatch, Intake, detached_types};
    use crate::memory::MemoryBudget;
    use crate::stats::Registry;

    fn batch(registry: &Registry, budget: &Arc<MemoryBudget>, ids: Range<usize>) -> Shipment {
        let (mut intake, mut types) = (Intake::over(String::new()), detached_types());
        for id in ids {
            let line = format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#);
            intake.push_line(&line, &mut types).unwrap();
        }
        let Intake { text, records } = intake;
        let arena = Arc::new(crate::batch::Arena::new(text, budget));
        let origin = Origin::accepted(records.len(), 1, registry.source("s"), None);
        Shipment::new(EventBatch::from_parts(records, arena, origin), Vec::new())
    }

    #[test]
    fn it_holds_no_text_and_finishes_every_intake_once_it_is_done() {
        let (registry, budget) = (Registry::default(), MemoryBudget::new(usize::MAX));
        let stats = registry.sink("s");
        stats.offer(10);
        let first = batch(&registry, &budget, 0..6);
        let second = batch(&registry, &budget, 6..10);
        let mut written = Written::nothing(stats.clone());
        written.add(&first, 0..2);
        written.add(&first, 2..6);
        let bytes = first.batch.bytes() + second.batch.bytes();
        let mut later = Written::nothing(stats.clone());
        later.add(&second, 0..4);
        drop((first, second));
        written.append(later);
        assert_eq!(budget.used_bytes(), 0);
        assert_eq!((written.events(), written.bytes()), (10, bytes));
        assert_eq!(written.intakes(), 2);
        assert_eq!((stats.delivered.get(), stats.waiting.get()), (0, 10));
        assert_eq!(registry.source("s").finished.get(), 0);
        written.done();
        assert_eq!((stats.delivered.get(), stats.waiting.get()), (10, 0));
        assert_eq!(registry.source("s").finished.get(), 10);
        assert_eq!(stats.in_doubt.get(), 0);
        assert!(registry.is_balanced());
    }

    #[test]
    fn what_is_dropped_is_in_doubt_and_never_done() {
        let (registry, budget) = (Registry::default(), MemoryBudget::new(usize::MAX));
        let stats = registry.sink("s");
        stats.offer(3);
        let batch = batch(&registry, &budget, 0..3);
        let mut written = Written::nothing(stats.clone());
        written.add(&batch, 0..3);
        drop(batch);
        drop(written);
        assert_eq!((stats.delivered.get(), stats.in_doubt.get()), (0, 3));
        assert_eq!(stats.waiting.get(), 3);
        let source = registry.source("s");
        assert_eq!((source.finished.get(), source.lost.get()), (0, 3));
        assert_eq!(registry.in_flight.get(), 0);
        assert!(!registry.is_balanced());
    }
}
