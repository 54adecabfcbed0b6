//! One slot of a sink that waits for a receiver: its events in order, and how the current delivery is.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use crate::dead_letter::Attempts;
use crate::sink::{Consignment, Held};

#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) waiting: VecDeque<(Rc<Held>, usize)>,
    pub(crate) is_busy: bool,
    /// The sink has the current delivery, and has not answered yet.
    pub(crate) is_asking: bool,
    /// A delivery that waits for the end of a pause.
    pub(crate) parked: Option<Consignment>,
    /// Failed attempts at the current delivery.
    pub(crate) failures: Attempts,
    /// Panics among them.
    pub(crate) panics: u32,
    /// When the first attempt at the current delivery was made.
    pub(crate) since: Option<Instant>,
    /// Deliver this many events one by one, to find the one that the receiver refuses.
    pub(crate) singly: usize,
}

impl Slot {
    /// How many of the waiting events make up the next delivery; at least one.
    pub(crate) fn count_within(&self, events_max: usize, bytes_max: usize) -> usize {
        let mut bytes = 0;
        let fitting = self.waiting.iter().take(events_max).take_while(|waiting| {
            let (held, index) = waiting;
            bytes += held.batch().records()[*index].line_bytes();
            bytes <= bytes_max
        });
        fitting.count().max(1)
    }

    /// The time until the current delivery is given up begins now: a pause does not count.
    pub(crate) fn restart_time(&mut self) {
        self.since = Some(Instant::now());
    }

    /// Has the events of a failed delivery delivered one by one.
    pub(crate) fn split(&mut self, events: Consignment) {
        self.singly = events.len();
        for event in events.events.into_iter().rev() {
            self.waiting.push_front(event);
        }
    }
}
