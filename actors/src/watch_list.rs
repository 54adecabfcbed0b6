//! What the watchdog watches, which a reload changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lane_slot::LaneSlot;
use crate::sink_watch::WatchedSink;
use crate::watchdog::Watched;

/// Who comes under the watchdog and who leaves it. Cloning gives another hold of the same list.
#[derive(Clone, Default)]
// Shared and locked: written by whoever reloads, emptied by the watchdog's thread.
pub struct WatchList(Arc<Mutex<Vec<Change>>>);

pub(crate) enum Change {
    Lane(Watched),
    NoLane(Arc<LaneSlot>),
    Sink(WatchedSink),
    NoSink(Arc<str>),
}

impl WatchList {
    /// Has the lane watched.
    pub fn add_lane(&self, lane: Watched) {
        self.lock().push(Change::Lane(lane));
    }

    /// Has the lane at that place watched no more.
    pub fn remove_lane(&self, slot: &Arc<LaneSlot>) {
        self.lock().push(Change::NoLane(Arc::clone(slot)));
    }

    /// Has the sink watched.
    pub fn add_sink(&self, sink: WatchedSink) {
        self.lock().push(Change::Sink(sink));
    }

    /// Has the sink of that name watched no more.
    pub fn remove_sink(&self, name: &str) {
        self.lock().push(Change::NoSink(name.into()));
    }

    /// What has changed since it was asked last.
    pub(crate) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
