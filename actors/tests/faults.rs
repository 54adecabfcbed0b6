//! Random faults in a small tree: whatever is injected, every event is accounted for and the order of each key is kept.

#[path = "support/pipeline.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod pipeline;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use pipeline::{Ended, Limits, Pipeline};
use proptest::prelude::*;
use veltrix_actors::{
    Event, ExitReason, FaultAction, FaultPlan, Handler, HandlerError, HandlerFactory, Injection,
    LaneHandler, Only, Output, PointPattern, StartError, When,
};

const EVENTS: usize = 1_000;
/// More than any plan here has injections, so that no event uses its attempts up.
const ATTEMPTS: u32 = 10;

/// Longer than neighbours wait, and within the deadline.
const HANG_THAT_BLOCKS: Duration = Duration::from_millis(350);
const DEADLINE: Duration = Duration::from_millis(450);
const HANG_THAT_IS_OVERDUE: Duration = Duration::from_millis(600);

struct Pass;

impl HandlerFactory for Pass {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        Ok(LaneHandler::Sync(Box::new(Pass)))
    }
}

impl Handler for Pass {
    fn handle(&mut self, _: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        out.pass()
    }
}

fn run(lanes: usize, plan: FaultPlan) -> Ended {
    run_watched(lanes, None, plan)
}

/// With a deadline all lanes share one thread, so that each hang displaces the others.
fn run_watched(lanes: usize, deadline: Option<Duration>, plan: FaultPlan) -> Ended {
    let pipeline = Pipeline {
        events: EVENTS,
        lanes,
        attempts: ATTEMPTS,
        max_restarts: 10_000,
        deadline,
        handler: Arc::new(Pass),
        limits: Limits::default(),
    };
    pipeline.run_with(plan)
}

/// All came once, and in the order of their key.
fn check_once_in_order(ended: &Ended) -> Result<(), TestCaseError> {
    prop_assert_eq!(&ended.exit, &ExitReason::Normal);
    let mut last = HashMap::new();
    for number in &ended.numbers {
        let before = last.insert(number % 7, *number);
        prop_assert!(before < Some(*number), "{} after {:?}", number, before);
    }
    prop_assert_eq!(ended.numbers.len(), EVENTS);
    prop_assert!(ended.registry.is_balanced());
    let source = ended.registry.source("numbers");
    prop_assert_eq!(source.finished.get(), EVENTS as u64);
    prop_assert_eq!(ended.registry.credits_in_use.get(), 0);
    Ok(())
}

/// Faults in the handler that another attempt mends.
fn in_handler() -> impl Strategy<Value = Injection> {
    let action = prop_oneof![
        3 => Just(FaultAction::Panic),
        2 => Just(FaultAction::Error { retryable: true }),
        2 => Just(FaultAction::AbortActor),
        1 => Just(FaultAction::Delay(Duration::from_micros(50))),
    ];
    let when = prop_oneof![
        (0.0f64..0.02).prop_map(|probability| When {
            probability: Some(probability),
            ..When::default()
        }),
        (50u64..500).prop_map(|every| When {
            every: Some(every),
            ..When::default()
        }),
        (1u64..5).prop_map(|times| When {
            times: Some(times),
            ..When::default()
        }),
        (0..EVENTS).prop_map(|id| When {
            only: Only {
                id: Some(id.to_string()),
                ..Only::default()
            },
            ..When::default()
        }),
    ];
    (action, when).prop_map(|(action, when)| Injection {
        at: PointPattern::new("handler.*"),
        action,
        when,
    })
}

/// Ends of the router, of which each hits another batch or another event of it.
fn in_router() -> impl Strategy<Value = Injection> {
    let action = prop_oneof![
        Just(FaultAction::Panic),
        Just(FaultAction::AbortActor),
        Just(FaultAction::Delay(Duration::from_micros(50))),
    ];
    (action, 0.0f64..0.01).prop_map(|(action, probability)| Injection {
        at: PointPattern::new("router"),
        action,
        when: When {
            probability: Some(probability),
            ..When::default()
        },
    })
}

/// A call that is late, or later than its deadline, and comes back while the lane goes on without it.
fn hang() -> impl Strategy<Value = Injection> {
    let time = prop_oneof![Just(HANG_THAT_BLOCKS), Just(HANG_THAT_IS_OVERDUE)];
    (time, 0..EVENTS).prop_map(|(time, id)| Injection {
        at: PointPattern::new("handler.*"),
        action: FaultAction::Hang(time),
        when: When {
            only: Only {
                id: Some(id.to_string()),
                ..Only::default()
            },
            ..When::default()
        },
    })
}

/// How often an action was injected, at all points.
fn injected(ended: &Ended, action: &str) -> u64 {
    let faults = ended.registry.faults().into_iter();
    let these = faults.filter(|((_, name), _)| *name == action);
    these.map(|(_, count)| count).sum()
}

proptest! {
    // Each case is a process of its own, as it were; a failing plan is shrunk and printed.
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn faults_of_handlers_lose_double_and_disorder_nothing(
        seed: u64,
        lanes in 1usize..5,
        injections in prop::collection::vec(in_handler(), 1..5),
    ) {
        let ended = run(lanes, FaultPlan { seed, injections });
        check_once_in_order(&ended)?;
        let handler = ended.registry.handler("tried");
        prop_assert_eq!(handler.panics.get(), injected(&ended, "panic"));
        prop_assert_eq!(ended.registry.restarts.get(), injected(&ended, "abort_actor"));
    }

    #[test]
    fn faults_of_sinks_lose_nothing_but_what_they_refuse(
        seed: u64,
        failing in 0.0f64..0.02,
        refusing in 0.0f64..0.02,
        dying in 0.0f64..0.01,
    ) {
        let at = |action, probability| Injection {
            at: PointPattern::new("sink.collect"),
            action,
            when: When { probability: Some(probability), ..When::default() },
        };
        let injections = vec![
            at(FaultAction::Error { retryable: true }, failing),
            at(FaultAction::Error { retryable: false }, refusing),
            at(FaultAction::AbortActor, dying),
        ];
        let ended = run(2, FaultPlan { seed, injections });
        prop_assert_eq!(&ended.exit, &ExitReason::Normal);
        let delivered: BTreeSet<usize> = ended.numbers.iter().copied().collect();
        let letters = ended.registry.sink("collect").dead_lettered.get() as usize;
        prop_assert!(delivered.len() + letters >= EVENTS, "{} + {}", delivered.len(), letters);
        prop_assert!(ended.registry.is_balanced());
        let source = ended.registry.source("numbers");
        prop_assert_eq!(source.finished.get(), EVENTS as u64);
        prop_assert_eq!(ended.registry.restarts.get(), injected(&ended, "abort_actor"));
    }
}

proptest! {
    // Each hang takes its time.
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn hangs_among_other_faults_and_displaced_neighbours_lose_double_and_disorder_nothing(
        seed: u64,
        lanes in 1usize..5,
        hangs in prop::collection::vec(hang(), 1..3),
        others in prop::collection::vec(in_handler(), 0..4),
        of_router in prop::collection::vec(in_router(), 0..2),
    ) {
        let injections = hangs.into_iter().chain(others).chain(of_router).collect();
        let ended = run_watched(lanes, Some(DEADLINE), FaultPlan { seed, injections });
        check_once_in_order(&ended)?;
        let handler = ended.registry.handler("tried");
        prop_assert!(handler.hangs.get() <= injected(&ended, "hang"), "{}", handler.hangs.get());
        prop_assert_eq!(handler.dead_lettered.get(), 0);
    }

    #[test]
    fn a_router_that_dies_again_and_again_loses_doubles_and_disorders_nothing(
        seed: u64,
        lanes in 1usize..5,
        injections in prop::collection::vec(in_router(), 1..4),
        others in prop::collection::vec(in_handler(), 0..3),
    ) {
        let injections = injections.into_iter().chain(others).collect();
        let ended = run(lanes, FaultPlan { seed, injections });
        check_once_in_order(&ended)?;
    }

    #[test]
    fn faults_all_over_the_tree_lose_and_disorder_nothing(
        seed: u64,
        lanes in 1usize..5,
        dying in 0.0f64..0.01,
        failing in 0.0f64..0.02,
        of_router in prop::collection::vec(in_router(), 1..3),
        of_handler in prop::collection::vec(in_handler(), 1..3),
    ) {
        let of_sink = |action, probability| Injection {
            at: PointPattern::new("sink.collect"),
            action,
            when: When { probability: Some(probability), ..When::default() },
        };
        let of_sink = [
            of_sink(FaultAction::AbortActor, dying),
            of_sink(FaultAction::Error { retryable: true }, failing),
        ];
        let injections = of_router.into_iter().chain(of_handler).chain(of_sink).collect();
        let ended = run(lanes, FaultPlan { seed, injections });
        prop_assert_eq!(&ended.exit, &ExitReason::Normal);
        // What a lost sink had written and not reported comes again.
        let (mut last, mut seen) = (HashMap::new(), BTreeSet::new());
        for number in ended.numbers.iter().filter(|number| seen.insert(**number)) {
            let before = last.insert(number % 7, *number);
            prop_assert!(before < Some(*number), "{} after {:?}", number, before);
        }
        prop_assert_eq!(seen.len(), EVENTS);
        prop_assert!(ended.registry.is_balanced());
        prop_assert_eq!(ended.registry.source("numbers").finished.get(), EVENTS as u64);
    }
}
