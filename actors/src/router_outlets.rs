//! The router's outlets: which lane has which, and which of them got events since they were last flushed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use actix::prelude::Recipient;

use crate::lane_spec::Target;
use crate::mailbox::{Inlet, OutletReady};
use crate::outlet::Outlet;
use crate::router::{Route, RouterSpec, Unmatched};
use crate::stats::Registry;

/// The outlet to the dead letters; the one for unmatched events and those to the lanes follow.
pub(crate) const DEAD_LETTERS: usize = 0;
pub(crate) const UNMATCHED: usize = 1;

/// All outlets. There may be thousands.
pub(crate) struct RouterOutlets {
    /// Those to the lanes of one route lie side by side.
    all: Vec<Outlet>,
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    free: FreePlaces,
    owner: Recipient<OutletReady>,
    registry: Arc<Registry>,
}

impl RouterOutlets {
    /// Those to the dead letters and for unmatched events.
    pub(crate) fn new(spec: &RouterSpec, owner: Recipient<OutletReady>) -> Self {
        let mut outlets = Self {
            all: Vec::new(),
            touched: Vec::new(),
            is_touched: vec![false; UNMATCHED + 1],
            free: FreePlaces::default(),
            owner,
            registry: spec.registry.clone(),
        };
        for target in [&Target::of(&spec.dead_letters), &unmatched(spec)] {
            let outlet = outlets.outlet(outlets.all.len(), target);
            outlets.all.push(outlet);
        }
        outlets
    }

    pub(crate) fn touch(&mut self, outlet: usize) -> &mut Outlet {
        if !std::mem::replace(&mut self.is_touched[outlet], true) {
            self.touched.push(outlet);
        }
        &mut self.all[outlet]
    }

    pub(crate) fn flush_full(&mut self) {
        for outlet in &self.touched {
            self.all[*outlet].flush_full();
        }
    }

    pub(crate) fn flush(&mut self) {
        for outlet in self.touched.drain(..) {
            self.is_touched[outlet] = false;
            self.all[outlet].flush();
        }
    }

    pub(crate) fn ready(&mut self, ready: OutletReady) {
        self.all[ready.outlet].flush();
    }

    /// Has an outlet for each lane of `spec`, and none for others; lanes that `before` has as well keep theirs. Takes and
    /// gives per route the outlet of its first lane.
    pub(crate) fn rewire(
        &mut self,
        spec: &RouterSpec,
        before: &RouterSpec,
        first_lane: Vec<usize>,
    ) -> Vec<usize> {
        let routes = before.routes.iter().zip(first_lane);
        let mut known: HashMap<_, _> = routes
            .map(|(route, first)| (identity(route), first..first + route.lanes.len()))
            .collect();
        let kept: Vec<_> = spec
            .routes
            .iter()
            .map(|route| known.remove(&identity(route)))
            .collect();
        for places in known.into_values() {
            self.vacate(places);
        }
        if !is_same_way(spec, before) {
            self.all[UNMATCHED] = self.outlet(UNMATCHED, &unmatched(spec));
        }
        let routes = spec.routes.iter().zip(kept);
        routes
            .map(|(route, kept)| kept.map_or_else(|| self.occupy(route), |places| places.start))
            .collect()
    }

    /// What is gathered there is sent.
    fn vacate(&mut self, places: Range<usize>) {
        for place in places.clone() {
            self.all[place] = self.outlet(place, &Target::of(&Inlet::new()));
        }
        self.free.add(places);
    }

    fn occupy(&mut self, route: &Route) -> usize {
        let fitting = self.free.take(route.lanes.len());
        let first = fitting.unwrap_or(self.all.len());
        for (place, lane) in (first..).zip(&route.lanes) {
            let outlet = self.outlet(place, &Target::of(lane));
            if place < self.all.len() {
                self.all[place] = outlet;
            } else {
                self.all.push(outlet);
                self.is_touched.push(false);
            }
        }
        first
    }

    fn outlet(&self, place: usize, target: &Target) -> Outlet {
        Outlet::to(target, self.owner.clone(), place, &self.registry)
    }
}

/// Places of lanes that are gone: ranges that lie apart, in their order.
#[derive(Default)]
struct FreePlaces(Vec<Range<usize>>);

impl FreePlaces {
    fn add(&mut self, places: Range<usize>) {
        self.0.push(places);
        self.0.sort_by_key(|free| free.start);
        // Neighbours become one, or a route with more lanes than those before it would never fit.
        self.0.dedup_by(|next, free| {
            let is_adjoining = free.end == next.start;
            if is_adjoining {
                free.end = next.end;
            }
            is_adjoining
        });
    }

    /// The first of `count` places side by side.
    fn take(&mut self, count: usize) -> Option<usize> {
        let fitting = self.0.iter().position(|places| places.len() >= count)?;
        let first = self.0[fitting].start;
        self.0[fitting].start += count;
        if self.0[fitting].is_empty() {
            self.0.remove(fitting);
        }
        Some(first)
    }
}

/// A route is known by its lanes, each of which belongs to one version of one handler only.
fn identity(route: &Route) -> Option<*const Inlet> {
    route.lanes.first().map(Arc::as_ptr)
}

fn unmatched(spec: &RouterSpec) -> Target {
    match &spec.unmatched {
        Unmatched::Sink(target) => target.clone(),
        // Keeps the numbering; nothing is ever sent there.
        Unmatched::DeadLetter | Unmatched::Drop => Target::of(&Inlet::new()),
    }
}

fn is_same_way(a: &RouterSpec, b: &RouterSpec) -> bool {
    match (&a.unmatched, &b.unmatched) {
        (Unmatched::Sink(a), Unmatched::Sink(b)) => Arc::ptr_eq(&a.inlet, &b.inlet),
        (Unmatched::Sink(_), _) | (_, Unmatched::Sink(_)) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_small_routes_become_one_that_a_large_route_fits_in() {
        let mut free = FreePlaces::default();
        for places in [6..8, 2..3, 10..12, 3..6] {
            free.add(places);
        }
        assert_eq!(free.take(7), None);
        assert_eq!((free.take(4), free.take(2)), (Some(2), Some(6)));
        assert_eq!((free.take(2), free.take(1)), (Some(10), None));
    }
}
