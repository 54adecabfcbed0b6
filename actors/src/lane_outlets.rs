//! Where a lane's results leave it: dead letters, the handler's targets, and the way of unmatched events.

use std::ops::Range;
use std::sync::Arc;

use actix::prelude::Recipient;
use smallvec::{SmallVec, smallvec};

use crate::batch::{Arena, EventBatch};
use crate::event::CONDITIONAL;
use crate::lane_spec::LaneSpec;
use crate::mailbox::{Inlet, OutletReady};
use crate::outlet::Outlet;
use crate::output::{Destination, Emitted};
use crate::router::Unmatched;
use crate::sink_stats::SinkStats;

/// The outlet to the dead letters; those of the handler's targets follow it, then the one for unmatched events.
const DEAD_LETTERS: usize = 0;
const FIRST_TARGET: usize = 1;

/// All outlets of one lane.
pub(crate) struct LaneOutlets {
    all: Vec<Outlet>,
    /// The outlet for unmatched events, if they go to a sink.
    unmatched: Option<usize>,
}

impl LaneOutlets {
    pub(crate) fn new(spec: &LaneSpec, owner: &Recipient<OutletReady>) -> Self {
        let mut all: Vec<Outlet> = Vec::new();
        let mut add = |inlet: &Arc<Inlet>, sink: Option<Arc<SinkStats>>| {
            let number = all.len();
            all.push(Outlet::new(
                inlet.clone(),
                owner.clone(),
                number,
                &spec.registry,
                sink,
            ));
            number
        };
        add(&spec.dead_letters, None);
        for target in &spec.targets {
            add(&target.inlet, target.sink.clone());
        }
        let unmatched = match &spec.unmatched {
            Unmatched::Sink(target) => Some(add(&target.inlet, target.sink.clone())),
            Unmatched::DeadLetter | Unmatched::Drop => None,
        };
        Self { all, unmatched }
    }

    /// Gives the outlets, and what is gathered in them, to another actor.
    pub(crate) fn readdress(&self, owner: &Recipient<OutletReady>) {
        for outlet in &self.all {
            outlet.readdress(owner.clone());
        }
    }

    /// Sends what is gathered as far as credits go.
    pub(crate) fn flush(&mut self) {
        for outlet in &mut self.all {
            outlet.flush();
        }
    }

    pub(crate) fn have_room(&self) -> bool {
        self.all.iter().all(Outlet::has_room)
    }

    pub(crate) fn are_empty(&self) -> bool {
        self.all.iter().all(Outlet::is_empty)
    }

    pub(crate) fn ready(&mut self, ready: OutletReady) {
        self.all[ready.outlet].flush();
    }

    /// Hands on what the `handled` events of `batch` became. Written results lie in `arena`.
    pub(crate) fn hand_on(
        &mut self,
        batch: &EventBatch,
        handled: Range<usize>,
        emitted: &mut Vec<Emitted>,
        arena: Option<&Arc<Arena>>,
        spec: &LaneSpec,
    ) {
        settle_conditions(batch, emitted);
        // The new pieces are counted before anyone can finish one of them.
        add_pieces(batch, handled, emitted, spec.targets.len());
        for Emitted { mut record, to } in emitted.drain(..) {
            let origin = batch.origin(record.origin);
            let own = || batch.arena(record.arena);
            match to {
                Destination::Passed | Destination::Written => {
                    let arena = match (&to, arena) {
                        (Destination::Written, Some(arena)) => arena,
                        _ => own(),
                    };
                    record.flags &= !CONDITIONAL;
                    for (outlet, target) in self.all[FIRST_TARGET..].iter_mut().zip(&spec.targets) {
                        let mut record = record;
                        record.hops = record.hops.saturating_add(u16::from(target.sink.is_none()));
                        outlet.push(record, arena, origin, None);
                    }
                }
                Destination::Unmatched => match self.unmatched {
                    Some(outlet) => self.all[outlet].push(record, own(), origin, None),
                    None => {
                        let dead_letters = &mut self.all[DEAD_LETTERS];
                        spec.unmatched.give_up(
                            record,
                            own(),
                            origin,
                            dead_letters,
                            &spec.registry,
                            None,
                        );
                    }
                },
                Destination::DeadLetter(failure) => {
                    self.all[DEAD_LETTERS].push_failed(record, own(), origin, *failure, None);
                }
                Destination::Taken | Destination::Refused => {}
            }
        }
        self.flush();
    }
}

/// Makes the conditional handler's decisions known, only now: a lane that is lost before decides again. The last refusal
/// of an event that nobody took makes it unmatched.
fn settle_conditions(batch: &EventBatch, emitted: &mut [Emitted]) {
    for Emitted { record, to } in emitted {
        let origin = batch.origin(record.origin);
        match to {
            Destination::Taken => origin.take(record.index),
            Destination::Refused if origin.refuse(record.index) => *to = Destination::Unmatched,
            _ => {}
        }
    }
}

/// Settles what the handled events became: each was one piece, and each result is one for each target.
fn add_pieces(
    batch: &EventBatch,
    handled: std::ops::Range<usize>,
    emitted: &[Emitted],
    targets: usize,
) {
    let targets = i64::try_from(targets).expect("a handler has few targets");
    let mut delta: SmallVec<[i64; 8]> = smallvec![0; batch.origins().len()];
    for record in &batch.records()[handled] {
        delta[usize::from(record.origin)] -= 1;
    }
    for Emitted { record, to } in emitted {
        delta[usize::from(record.origin)] += match to {
            Destination::Passed | Destination::Written => targets,
            Destination::Unmatched | Destination::DeadLetter(_) => 1,
            Destination::Taken | Destination::Refused => 0,
        };
    }
    for (origin, delta) in batch.origins().iter().zip(delta) {
        origin.add(delta);
    }
}
