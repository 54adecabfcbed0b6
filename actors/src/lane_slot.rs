//! What outlives a lane's actor: its inlet, its outlets, the attempts at the event that fails, and who is in charge.
//!
//! An actor that lost its place (its thread hung and was replaced) may wake up later. It is fenced by the generation: whatever
//! a lane makes known, it does under the slot's lock and only while it is in charge.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::prelude::Recipient;

use crate::dead_letter::{Attempt, Attempts, FailureClass};
use crate::lane_outlets::LaneOutlets;
use crate::lane_spec::LaneSpec;
use crate::mailbox::{Inlet, OutletReady};
use crate::shipment::Shipment;
use crate::supervision::{ChildHandle, ExitReason};
use crate::worker::Worker;

/// The place of one lane in its handler's pool, filled by one actor after the other.
pub struct LaneSlot {
    inlet: Arc<Inlet>,
    // Locked by the lane once a batch, and by its successor and the watchdog when it is lost.
    state: Mutex<SlotState>,
    /// The actor in charge. Changed under the lock; read without it between two events.
    generation: AtomicU64,
    /// The call of the handler that is under way; written by the lane at each event, read by the watchdog.
    call: AtomicU64,
}

struct SlotState {
    worker: Arc<Worker>,
    /// By which the end of the actor in charge is reported when it cannot do so itself.
    child: Option<ChildHandle>,
    /// Made for the first actor, and handed from one to the next with what is gathered in them.
    outlets: Option<LaneOutlets>,
    failing: Option<Failing>,
}

/// An event that has failed and is not through yet.
struct Failing {
    shipment: Arc<Shipment>,
    index: usize,
    attempts: Attempts,
}

/// What a lane calls its handler for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Differs from one call to the next.
    number: u64,
    /// The event's index in the oldest batch; `None` while the handler is built.
    pub(crate) index: Option<usize>,
}

impl Call {
    #[cfg(test)]
    pub(crate) fn of_event(number: u64) -> Self {
        let index = Some(0);
        Self { number, index }
    }
}

/// Why an attempt failed whose call never returned.
const HUNG: &str = "the handler hung on it";

/// In the word, a call's number lies above so many bits, and its event's index below. Zero is no call.
const INDEX_BITS: u32 = 16;
const BUILDING: u64 = (1 << INDEX_BITS) - 1;

/// The results' way out, for the actor in charge.
pub(crate) struct InCharge<'a>(MutexGuard<'a, SlotState>);

impl InCharge<'_> {
    pub(crate) fn outlets(&mut self) -> &mut LaneOutlets {
        let outlets = self.0.outlets.as_mut();
        outlets.expect("they are made when the first actor takes the place")
    }
}

impl LaneSlot {
    /// An empty place on that thread.
    pub fn new(worker: Arc<Worker>) -> Arc<Self> {
        Arc::new(Self {
            inlet: Inlet::new(),
            state: Mutex::new(SlotState {
                worker,
                child: None,
                outlets: None,
                failing: None,
            }),
            generation: AtomicU64::new(0),
            call: AtomicU64::new(0),
        })
    }

    /// Where the router sends the lane's events.
    pub fn inlet(&self) -> &Arc<Inlet> {
        &self.inlet
    }

    /// The thread that the lane's actors are started on.
    pub(crate) fn worker(&self) -> Arc<Worker> {
        Arc::clone(&self.lock().worker)
    }

    /// Has the lane's supervisor start another actor on another thread; `reason` is what became of this one.
    pub(crate) fn move_to(&self, worker: Arc<Worker>, reason: ExitReason) {
        let mut state = self.lock();
        state.worker = worker;
        if let Some(child) = state.child.take() {
            child.report(reason);
        }
    }

    /// Puts a new actor in charge and fences the one before; returns the new one's generation.
    pub(crate) fn take_charge(
        &self,
        spec: &LaneSpec,
        owner: Recipient<OutletReady>,
        child: Option<ChildHandle>,
    ) -> u64 {
        let mut state = self.lock();
        state.child = child;
        match &mut state.outlets {
            Some(outlets) => {
                outlets.readdress(&owner);
                outlets.flush();
            }
            outlets => *outlets = Some(LaneOutlets::new(spec, &owner)),
        }
        self.call.store(0, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The outlets, unless another actor is in charge by now.
    pub(crate) fn in_charge(&self, generation: u64) -> Option<InCharge<'_>> {
        let state = self.lock();
        self.is_in_charge(generation).then_some(InCharge(state))
    }

    /// A glance without the lock, which may be outdated at once.
    pub(crate) fn is_in_charge(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Relaxed) == generation
    }

    /// The handler is called for the event at `index` of the oldest batch.
    pub(crate) fn enter(&self, number: u64, index: usize) {
        self.call
            .store(number << INDEX_BITS | index as u64, Ordering::Relaxed);
    }

    /// The handler is built.
    pub(crate) fn enter_building(&self, number: u64) {
        self.call
            .store(number << INDEX_BITS | BUILDING, Ordering::Relaxed);
    }

    /// No code of the handler runs.
    pub(crate) fn leave(&self) {
        self.call.store(0, Ordering::Relaxed);
    }

    /// The call that is under way.
    pub(crate) fn call(&self) -> Option<Call> {
        let word = self.call.load(Ordering::Relaxed);
        let index = word & BUILDING;
        (word != 0).then(|| Call {
            number: word >> INDEX_BITS,
            index: (index != BUILDING).then_some(index as usize),
        })
    }

    /// Adds a failed attempt at an event, and returns how many there were.
    pub(crate) fn add_failure(
        &self,
        shipment: &Arc<Shipment>,
        index: usize,
        attempt: Attempt,
    ) -> u32 {
        let mut state = self.lock();
        let mut attempts = match state.failing.take() {
            Some(failing) if failing.is_at(shipment, index) => failing.attempts,
            _ => Attempts::default(),
        };
        attempts.add(attempt);
        let count = attempts.count();
        state.failing = Some(Failing {
            shipment: Arc::clone(shipment),
            index,
            attempts,
        });
        count
    }

    /// The failed attempts at an event. They stay for a successor, which gives it up again if this actor is lost before its
    /// next commit.
    pub(crate) fn attempts(&self, shipment: &Arc<Shipment>, index: usize) -> Attempts {
        match &self.lock().failing {
            Some(failing) if failing.is_at(shipment, index) => failing.attempts.clone(),
            _ => Attempts::default(),
        }
    }

    /// The event of the batch that failed last, and how often it did; a lost predecessor may have tried it.
    pub(crate) fn failed_before(&self, shipment: &Arc<Shipment>) -> Option<(usize, u32)> {
        let state = self.lock();
        let failing = state.failing.as_ref()?;
        Arc::ptr_eq(&failing.shipment, shipment)
            .then_some((failing.index, failing.attempts.count()))
    }

    /// Counts the call under way, which does not return, as a failed attempt at its event.
    pub(crate) fn blame(&self, call: Call) {
        if let (Some(index), Some(shipment)) = (call.index, self.inlet.oldest()) {
            let attempt = Attempt::failed(FailureClass::Timeout, HUNG);
            self.add_failure(&shipment, index, attempt);
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failing {
    fn is_at(&self, shipment: &Arc<Shipment>, index: usize) -> bool {
        self.index == index && Arc::ptr_eq(&self.shipment, shipment)
    }
}
