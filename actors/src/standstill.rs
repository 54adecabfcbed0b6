//! Whether a sink stands still: what is the oldest in its window is so for long.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::shipment::Shipment;

/// How often a sink is looked at.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// It stands still if so many looks in a row find the same batch: 5 s. Meanwhile the input keeps the events.
const LOOKS: u32 = 5;

/// What was seen of a sink's window.
#[derive(Debug, Default)]
pub(crate) struct Standstill {
    /// The batch stays no longer than the sink needs it.
    oldest: Weak<Shipment>,
    looks: u32,
}

impl Standstill {
    /// To be called every [`LOOK_INTERVAL`] with the oldest batch that is not settled.
    pub(crate) fn look(&mut self, oldest: Option<&Arc<Shipment>>) {
        if self.is_same(oldest) {
            self.looks = self.looks.saturating_add(1);
            return;
        }
        self.looks = 0;
        self.oldest = oldest.map(Arc::downgrade).unwrap_or_default();
    }

    /// Whether the sink stands still, and has not moved since the last look.
    pub(crate) fn lasts(&self, oldest: Option<&Arc<Shipment>>) -> bool {
        self.looks >= LOOKS && self.is_same(oldest)
    }

    fn is_same(&self, oldest: Option<&Arc<Shipment>>) -> bool {
        oldest.is_some_and(|oldest| Weak::as_ptr(&self.oldest) == Arc::as_ptr(oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::EventBatch;

    #[test]
    fn a_sink_stands_still_until_its_oldest_batch_is_another_one() {
        let shipment = || Arc::new(Shipment::new(EventBatch::default(), Vec::new()));
        let (stuck, next) = (shipment(), shipment());
        let mut sink = Standstill::default();
        for _ in 0..LOOKS {
            sink.look(Some(&stuck));
            assert!(!sink.lasts(Some(&stuck)));
        }
        sink.look(Some(&stuck));
        assert!(sink.lasts(Some(&stuck)));
        assert!(!sink.lasts(Some(&next)) && !sink.lasts(None));
        sink.look(Some(&next));
        assert!(!sink.lasts(Some(&stuck)) && !sink.lasts(Some(&next)));
    }

    #[test]
    fn a_sink_without_work_does_not_stand_still() {
        let mut sink = Standstill::default();
        for _ in 0..=LOOKS {
            sink.look(None);
        }
        assert!(!sink.lasts(None));
    }
}
