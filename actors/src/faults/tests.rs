//! What a plan decides, without actors, clocks or threads.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::point::{End, FaultPoint, Strike};
use super::{FaultAction, FaultPlan, Faults, Injection, Only, PointPattern, When};
use crate::batch::{EventBatch, Intake, detached_types};
use crate::memory::MemoryBudget;
use crate::origin::Origin;
use crate::stats::Registry;

fn events(count: usize) -> EventBatch {
    let mut intake = Intake::over(String::new());
    let mut types = detached_types();
    for id in 0..count {
        let line = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","subject":"{}","data":{id}}}"#,
            id % 7
        );
        intake.push_line(&line, &mut types).unwrap();
    }
    let arena = Arc::new(crate::batch::Arena::new(
        intake.text,
        &MemoryBudget::new(usize::MAX),
    ));
    EventBatch::from_parts(intake.records, arena, Origin::of_results(count, Vec::new()))
}

fn injection(action: FaultAction, when: When) -> Injection {
    Injection {
        at: PointPattern::new("handler.*"),
        action,
        when,
    }
}

fn faults(seed: u64, injections: Vec<Injection>) -> Faults {
    Faults::new(FaultPlan { seed, injections }, Arc::default(), None)
}

fn point(seed: u64, injection: Injection) -> Arc<FaultPoint> {
    let point = faults(seed, vec![injection]).point("handler.h");
    point.expect("the injection is meant for it")
}

/// The events that are struck when they all pass once.
fn struck(point: &FaultPoint, events: &EventBatch, elapsed: Duration) -> Vec<usize> {
    let is_struck = |(index, event)| {
        let strike = point.decide(&event, Some(0), elapsed);
        (strike != Strike::default()).then_some(index)
    };
    events.iter().enumerate().filter_map(is_struck).collect()
}

fn now() -> Duration {
    Duration::from_secs(1)
}

#[test]
fn a_point_without_an_injection_is_no_point() {
    let faults = faults(1, vec![injection(FaultAction::Panic, When::default())]);
    assert!(faults.point("sink.h").is_none());
    assert!(faults.router().is_none());
}

#[test]
fn the_router_has_no_errors_and_changes_no_events() {
    let everywhere = |action| Injection {
        at: PointPattern::new("*"),
        ..injection(action, When::default())
    };
    for action in [FaultAction::Error { retryable: true }, FaultAction::Corrupt] {
        assert!(faults(1, vec![everywhere(action)]).router().is_none());
    }
    assert!(
        faults(1, vec![everywhere(FaultAction::Panic)])
            .router()
            .is_some()
    );
}

#[test]
fn each_event_is_struck_once_unless_the_fault_is_sticky() {
    let events = events(10);
    let mut when = When::default();
    let once = point(1, injection(FaultAction::Panic, when.clone()));
    assert_eq!(struck(&once, &events, now()).len(), 10);
    assert_eq!(struck(&once, &events, now()), [] as [usize; 0]);
    when.sticky = true;
    when.only = Only {
        id: Some("7".to_owned()),
        ..Only::default()
    };
    let poison = point(1, injection(FaultAction::Panic, when));
    for _ in 0..5 {
        assert_eq!(struck(&poison, &events, now()), [7]);
    }
}

#[test]
fn every_nth_is_counted_by_each_lane_and_retries_do_not_count() {
    let events = events(12);
    let when = When {
        every: Some(3),
        ..When::default()
    };
    let point = point(1, injection(FaultAction::Panic, when));
    for lane in [0, 1] {
        for (index, event) in events.iter().enumerate() {
            // Two lanes never have the same event; here the second one has others of its own.
            let event = match lane {
                0 => event,
                _ => events.event(11 - index),
            };
            let first = point.decide(&event, Some(lane), now());
            let again = point.decide(&event, Some(lane), now());
            if lane == 0 {
                assert_eq!(first.end.is_some(), index % 3 == 2, "{index}");
            }
            assert_eq!(again, Strike::default());
        }
    }
}

#[test]
fn times_is_an_upper_bound_over_all_points() {
    let when = When {
        times: Some(4),
        ..When::default()
    };
    let faults = faults(1, vec![injection(FaultAction::Panic, when)]);
    let events = events(10);
    let first = faults.point("handler.a").expect("it is meant");
    let second = faults.point("handler.b").expect("it is meant");
    let (a, b) = (events.event(0), events.event(1));
    for event in [a, b] {
        assert!(first.decide(&event, None, now()).end.is_some());
        assert!(second.decide(&event, None, now()).end.is_some());
    }
    assert_eq!(struck(&first, &events, now()), [] as [usize; 0]);
}

#[test]
fn a_schedule_in_time_begins_and_ends() {
    let events = events(3);
    let seconds = Duration::from_secs;
    let when = When {
        from: seconds(10),
        until: Some(seconds(20)),
        sticky: true,
        ..When::default()
    };
    let point = point(1, injection(FaultAction::Error { retryable: true }, when));
    for (at, expected) in [(0, 0), (9, 0), (10, 3), (19, 3), (20, 0)] {
        assert_eq!(
            struck(&point, &events, seconds(at)).len(),
            expected,
            "after {at} s"
        );
    }
}

#[test]
fn a_slow_point_lets_so_many_pass_in_a_second() {
    let events = events(5);
    let point = point(1, injection(FaultAction::Slow(4.0), When::default()));
    let wait = |event| point.decide(&event, None, now()).queue;
    let waits: Vec<u128> = events.iter().map(|event| wait(event).as_millis()).collect();
    assert_eq!(waits, [0, 250, 500, 750, 1000]);
    let later = point.decide(&events.event(0), None, Duration::from_secs(60));
    assert_eq!(later.queue, Duration::ZERO);
}

#[test]
fn what_takes_time_adds_up_and_an_end_comes_last() {
    let millis = Duration::from_millis;
    let all = vec![
        injection(FaultAction::Delay(millis(3)), When::default()),
        injection(FaultAction::Hang(millis(4)), When::default()),
        injection(FaultAction::Delay(millis(5)), When::default()),
        injection(FaultAction::AbortActor, When::default()),
        injection(FaultAction::Corrupt, When::default()),
    ];
    let registry = Arc::new(Registry::default());
    let plan = FaultPlan {
        seed: 1,
        injections: all,
    };
    let faults = Faults::new(plan, registry.clone(), None);
    let point = faults.point("handler.h").expect("it is meant");
    let events = events(1);
    let strike = point.decide(&events.event(0), Some(0), now());
    assert_eq!(
        (strike.delay, strike.hang, strike.end),
        (millis(8), millis(4), Some(End::AbortActor))
    );
    let count = |action: &str| {
        let of = |((_, name), count): &((String, &'static str), u64)| {
            (*name == action).then_some(*count)
        };
        registry.faults().iter().filter_map(of).sum::<u64>()
    };
    assert_eq!(
        ["delay", "hang", "abort_actor", "corrupt"].map(count),
        [2, 1, 1, 0]
    );
    // What the ended attempt did not come to is left for the next one.
    let next = point.decide(&events.event(0), Some(0), now());
    assert!(next.end.is_none() && next.corruption.is_some());
}

proptest! {
    #[test]
    fn the_same_seed_strikes_the_same_events_in_whatever_order_they_come(
        seed: u64,
        probability in 0.0f64..1.0,
        order in Just((0..200usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let events = events(200);
        let when = When { probability: Some(probability), ..When::default() };
        let panics = injection(FaultAction::Panic, when);
        let expected = struck(&point(seed, panics.clone()), &events, now());
        let again = point(seed, panics);
        let mut found: Vec<usize> = order
            .into_iter()
            .filter(|index| again.decide(&events.event(*index), Some(index % 4), now()).end.is_some())
            .collect();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_probability_is_kept_within_bounds_and_seeds_differ(seed: u64, probability in 0.01f64..0.99) {
        let events = events(1_000);
        let when = When { probability: Some(probability), ..When::default() };
        let of = |seed| struck(&point(seed, injection(FaultAction::Panic, when.clone())), &events, now());
        let (these, others) = (of(seed), of(seed.wrapping_add(1)));
        // Six standard deviations: a run of ten thousand cases fails by chance once in fifty thousand.
        let bound = 6.0 * (1_000.0 * probability * (1.0 - probability)).sqrt() + 1.0;
        let found = these.len() as f64;
        prop_assert!((found - 1_000.0 * probability).abs() < bound, "{} of {}", found, probability);
        prop_assert_ne!(these, others);
    }
}
