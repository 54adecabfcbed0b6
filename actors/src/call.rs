//! Which call of a component's code is under way: one word, written by its actor at each call and read by the watchdog.

use std::sync::atomic::{AtomicU64, Ordering};

/// The word of one actor. A successor has another one, so that a predecessor that wakes up late cannot touch it.
#[derive(Debug, Default)]
pub(crate) struct CallWord(AtomicU64);

/// What a handler is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Differs from one call to the next.
    number: u64,
    /// The event's index in the oldest batch; `None` while the handler is built.
    pub(crate) index: Option<usize>,
}

/// A call's number lies above so many bits, and its event's index below. Zero is no call.
const INDEX_BITS: u32 = 16;
const BUILDING: u64 = (1 << INDEX_BITS) - 1;

impl CallWord {
    /// The handler is called for the event at `index` of the oldest batch.
    pub(crate) fn enter(&self, number: u64, index: usize) {
        self.0
            .store(number << INDEX_BITS | index as u64, Ordering::Relaxed);
    }

    /// The handler is built.
    pub(crate) fn enter_building(&self, number: u64) {
        self.0
            .store(number << INDEX_BITS | BUILDING, Ordering::Relaxed);
    }

    /// No code of the handler runs.
    pub(crate) fn leave(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The call that is under way.
    pub(crate) fn get(&self) -> Option<Call> {
        let word = self.0.load(Ordering::Relaxed);
        let index = word & BUILDING;
        (word != 0).then(|| Call {
            number: word >> INDEX_BITS,
            index: (index != BUILDING).then_some(index as usize),
        })
    }
}

impl Call {
    #[cfg(test)]
    pub(crate) fn of_event(number: u64) -> Self {
        let index = Some(0);
        Self { number, index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_event_the_building_and_nothing_apart() {
        let word = CallWord::default();
        assert_eq!(word.get(), None);
        word.enter(7, 1_023);
        assert_eq!(word.get().and_then(|call| call.index), Some(1_023));
        word.enter_building(0);
        assert_eq!(word.get().map(|call| call.index), Some(None));
        word.leave();
        assert_eq!(word.get(), None);
    }

    #[test]
    fn two_calls_for_one_event_differ() {
        let word = CallWord::default();
        word.enter(1, 5);
        let first = word.get();
        word.enter(2, 5);
        assert_ne!(word.get(), first);
    }
}
