//! A sink's overflow log whose disk is full, in virtual time: how often it is tried, and what becomes of the events.

#[path = "support/journal.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::{Actor, Addr};
use actix_rt::{Arbiter, System};
use support::{Door, Hold, LetGo, Taker, events};
use tokio::sync::mpsc;
use tokio::time::Instant;
use veltrix_actors::mailbox::Inlet;
use veltrix_actors::{
    Durability, Finished, Journal, JournalFactory, Lifeline, MemoryBudget, OverflowSpec, Registry,
    SourcePlace, SourceSpec, Spillway, StartError, Submitter, TypeTable, start_overflow,
    start_source,
};

/// A disk without room to begin a log, and when it was tried.
struct FullDisk(mpsc::Sender<Instant>);

impl JournalFactory for FullDisk {
    fn open(&self) -> Result<(Box<dyn Journal>, Finished), StartError> {
        self.0.try_send(Instant::now()).expect("a waiting test");
        Err(StartError("full".to_owned()))
    }

    fn exists(&self) -> bool {
        false
    }
}

/// A source, the overflow log, and the taker in the sink's place.
struct Process {
    door: Submitter,
    seen: mpsc::Receiver<String>,
    taker: Addr<Taker>,
    registry: Arc<Registry>,
}

impl Process {
    async fn start(factory: impl JournalFactory + 'static) -> Self {
        let registry = Arc::new(Registry::default());
        let (types, budget) = (Arc::new(TypeTable::default()), MemoryBudget::new(1 << 20));
        let (sender, seen) = mpsc::channel(1 << 20);
        let taker = Taker {
            seen: sender,
            held: Vec::new(),
            is_holding: false,
        };
        let taker = taker.start();
        let (target, inlet) = (Inlet::new(), Inlet::new());
        target.open(taker.clone().recipient());
        let spec = OverflowSpec {
            sink: "slow".into(),
            factory: Arc::new(factory),
            spillway: Spillway::new("slow", inlet.clone()),
            target,
            types: types.clone(),
            budget: budget.clone(),
            bytes_max: 1 << 30,
            registry: registry.clone(),
        };
        let (lifeline, mut root) = Lifeline::root();
        start_overflow(spec, &Arbiter::current(), lifeline);
        (&mut root.started).await.expect("it starts");
        let (sender, mut doors) = mpsc::channel(1 << 20);
        let spec = SourceSpec {
            factory: Arc::new(Door(Mutex::new(Some(sender)))),
            place: SourcePlace {
                name: "door".into(),
                next: inlet,
                durability: Durability::None,
                types,
                budget,
                registry: registry.clone(),
            },
        };
        start_source(spec, &Arbiter::current(), Lifeline::root().0);
        Self {
            door: doors.recv().await.expect("an open door"),
            seen,
            taker,
            registry,
        }
    }

    async fn assert_next_is(&mut self, number: u32) {
        let id = self.seen.recv().await.expect("a living taker");
        assert_eq!(id, number.to_string());
    }
}

#[test]
fn a_full_disk_is_tried_four_times_a_second_however_many_batches_come() {
    System::new().block_on(async {
        tokio::time::pause();
        let (tried, mut tries) = mpsc::channel(1 << 10);
        let mut process = Process::start(FullDisk(tried)).await;
        // Each of them finds nothing waiting before it, and goes to the sink from memory.
        for number in 0..100 {
            process.door.submit(events(number..number + 1)).await;
            process.assert_next_is(number).await;
        }
        process.taker.send(Hold).await.expect("a living taker");
        for number in 100..110 {
            process.door.submit(events(number..number + 1)).await;
        }
        let mut last: Option<Instant> = None;
        for _ in 0..12 {
            let now = tries.recv().await.expect("a living log");
            let pause = last.map(|last| now - last);
            assert!(
                pause.is_none_or(|pause| pause >= Duration::from_millis(250)),
                "tried again after {pause:?}"
            );
            last = Some(now);
        }
        process.taker.send(LetGo).await.expect("a living taker");
        for number in 100..110 {
            process.assert_next_is(number).await;
        }
        process.registry.in_flight.drained().await;
        assert!(process.registry.is_balanced());
    });
}
