//! What outlives a lane's actor: its inlet, its outlets, the attempts at the event that fails, and who is in charge.
//!
//! An actor that lost its place (its thread hung and was replaced) may wake up later. It is fenced by the generation: whatever
//! a lane makes known, it does under the slot's lock and only while it is in charge.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::prelude::{Actor, Addr, Context, Handler};

use crate::call::{Call, CallWord};
use crate::dead_letter::{Attempt, Attempts, FailureClass};
use crate::lane_outlets::LaneOutlets;
use crate::lane_spec::LaneSpec;
use crate::mailbox::{Deliver, Inlet, OutletReady};
use crate::shipment::Shipment;
use crate::succession::Successor;
use crate::supervision::{ChildHandle, ExitReason};
use crate::worker::Worker;

/// The place of one lane in its handler's pool, filled by one actor after the other.
pub struct LaneSlot {
    inlet: Arc<Inlet>,
    // Locked by the lane once a batch, and by its successor and the watchdog when it is lost.
    state: Mutex<SlotState>,
    /// The actor in charge. Changed under the lock; read without it between two events.
    generation: AtomicU64,
    /// Nobody sends here any more: what is left is not kept for better times.
    is_leaving: AtomicBool,
}

struct SlotState {
    worker: Arc<Worker>,
    /// By which the end of the actor in charge is reported when it cannot do so itself.
    child: Option<ChildHandle>,
    /// The call that the actor in charge is in.
    call: Arc<CallWord>,
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

/// Why an attempt failed whose call never returned.
const HUNG: &str = "the handler hung on it";

/// One actor's turn in the slot.
#[derive(Clone, Debug)]
pub(crate) struct LaneTurn {
    pub(crate) generation: u64,
    pub(crate) call: Arc<CallWord>,
}

/// The results' way out, for the actor in charge.
pub(crate) struct InCharge<'a>(MutexGuard<'a, SlotState>);

impl InCharge<'_> {
    pub(crate) fn outlets(&mut self) -> &mut LaneOutlets {
        let outlets = self.0.outlets.as_mut();
        outlets.expect("they are made when the first actor takes the place")
    }

    /// Forgets the attempts at an event of the batch that is through; they would keep the batch alive.
    pub(crate) fn forget_attempts(&mut self, shipment: &Arc<Shipment>) {
        let failing = &mut self.0.failing;
        *failing = failing.take().filter(|failing| {
            let is_through = failing.index < shipment.committed();
            !(is_through && Arc::ptr_eq(&failing.shipment, shipment))
        });
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
                call: Arc::default(),
                outlets: None,
                failing: None,
            }),
            generation: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
        })
    }

    /// Where the router sends the lane's events.
    pub fn inlet(&self) -> &Arc<Inlet> {
        &self.inlet
    }

    /// The thread that the lane's actors are on.
    pub(crate) fn worker(&self) -> Arc<Worker> {
        Arc::clone(&self.lock().worker)
    }

    /// Has the lane's supervisor start another actor on another thread; `reason` is what became of this one.
    pub(crate) fn move_to(&self, worker: Arc<Worker>, reason: ExitReason) {
        self.lock().move_to(worker, reason);
    }

    /// As [`LaneSlot::move_to`] for an actor that hangs in `call`, which counts as a failed attempt at its event. False if
    /// the call has ended after all.
    pub(crate) fn leave_behind(&self, call: Call, worker: Arc<Worker>, reason: ExitReason) -> bool {
        let mut state = self.lock();
        if state.call.get() != Some(call) {
            return false;
        }
        // Its lane cannot commit while the lock is held, so the oldest batch is the one of the call.
        if let (Some(index), Some(shipment)) = (call.index, self.inlet.oldest()) {
            let attempt = Attempt::failed(FailureClass::Timeout, HUNG);
            state.add_failure(&shipment, index, attempt);
        }
        state.move_to(worker, reason);
        true
    }

    /// The next actor's turn: the one before is fenced from here on, and so is a start that waits on a hung thread.
    pub(crate) fn next_turn(&self, child: Option<ChildHandle>) -> (Arc<Worker>, LaneTurn) {
        let mut state = self.lock();
        if state.worker.is_given_up() {
            state.worker = state.worker.another();
        }
        state.child = child;
        state.call = Arc::default();
        let turn = LaneTurn {
            generation: self.generation.fetch_add(1, Ordering::AcqRel) + 1,
            call: Arc::clone(&state.call),
        };
        (Arc::clone(&state.worker), turn)
    }

    /// Gives the actor the outlets with what is gathered in them, and all batches that its predecessors have not settled;
    /// nothing if it is not its turn any more.
    pub(crate) fn take_charge<A>(&self, generation: u64, spec: &LaneSpec, actor: &Addr<A>)
    where
        A: Actor<Context = Context<A>> + Handler<OutletReady> + Handler<Deliver>,
    {
        let mut state = self.lock();
        if !self.is_in_charge(generation) {
            return;
        }
        let owner = actor.clone().recipient();
        match &mut state.outlets {
            Some(outlets) => {
                outlets.readdress(&owner);
                outlets.flush();
            }
            outlets => *outlets = Some(LaneOutlets::new(spec, &owner)),
        }
        self.inlet.open(actor.clone().recipient());
    }

    /// No actor follows: what is gathered for others is sent, and what is not handled is `successor`'s. An actor that
    /// comes back later finds itself replaced.
    pub fn hand_over(&self, successor: Successor) {
        let mut state = self.lock();
        self.generation.fetch_add(1, Ordering::AcqRel);
        state.child = None;
        state.call = Arc::default();
        state.failing = None;
        // Dropped before any of its successor's results can be sent.
        state.outlets = None;
        drop(state);
        self.inlet.hand_over(successor);
    }

    /// Says that nobody sends here any more. A pause that has begun is kept.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    /// Whether nothing is left to be handled or handed on.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        let is_handed_on = state.outlets.as_ref().is_none_or(LaneOutlets::are_empty);
        is_handed_on && self.inlet.unsettled() == 0
    }

    /// Gives the thread up if its actor, which was to end, is in a call that does not return.
    pub fn leave_hung(&self) {
        let mut state = self.lock();
        if state.call.get().is_some() {
            state.worker.give_up();
            state.call = Arc::default();
        }
    }

    /// Has the lane's thread end; to be called only if it is nobody else's, and once the lane has ended.
    pub fn stop_thread(&self) {
        self.lock().worker.stop();
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

    /// The call that the actor in charge is in.
    pub(crate) fn call(&self) -> Option<Call> {
        self.lock().call.get()
    }

    /// Adds a failed attempt of the actor in charge, and returns how many there were; nothing if it is another one.
    pub(crate) fn add_failure_of(
        &self,
        generation: u64,
        shipment: &Arc<Shipment>,
        index: usize,
        attempt: Attempt,
    ) -> Option<u32> {
        let mut state = self.lock();
        self.is_in_charge(generation)
            .then(|| state.add_failure(shipment, index, attempt))
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

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotState {
    fn move_to(&mut self, worker: Arc<Worker>, reason: ExitReason) {
        self.worker = worker;
        // What the lost actor hangs in is told of; until the next one is there, nobody is in a call.
        self.call = Arc::default();
        if let Some(child) = self.child.take() {
            child.report(reason);
        }
    }

    fn add_failure(&mut self, shipment: &Arc<Shipment>, index: usize, attempt: Attempt) -> u32 {
        let mut attempts = match self.failing.take() {
            Some(failing) if failing.is_at(shipment, index) => failing.attempts,
            _ => Attempts::default(),
        };
        attempts.add(attempt);
        let count = attempts.count();
        self.failing = Some(Failing {
            shipment: Arc::clone(shipment),
            index,
            attempts,
        });
        count
    }
}

impl Failing {
    fn is_at(&self, shipment: &Arc<Shipment>, index: usize) -> bool {
        self.index == index && Arc::ptr_eq(&self.shipment, shipment)
    }
}
