//! A sink's overflow log: what it stores and hands on, what a restart reads back, and what becomes of the events when its disk
//! is full or fails.

#[path = "support/journal.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::{Actor, Addr};
use actix_rt::{Arbiter, System};
use support::{Disk, Door, Hold, LetGo, State, Taker, events};
use tokio::sync::mpsc;
use tokio::time::Instant;
use veltrix_actors::mailbox::{Inlet, control};
use veltrix_actors::{
    Backoff, ChildSpec, Durability, ExitReason, Finished, Journal, JournalFactory, Lifeline,
    MemoryBudget, OverflowSpec, Registry, Restart, RestartBudget, RootWatch, SinkStats,
    SourcePlace, SourceSpec, Spillway, StartError, Stop, Submitter, Supervisor, TypeTable,
    start_overflow, start_source,
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
    /// Of a source that sends to the sink itself.
    beside: SourcePlace,
    seen: mpsc::Receiver<String>,
    taker: Addr<Taker>,
    registry: Arc<Registry>,
    log: RootWatch,
    root: Addr<Supervisor>,
}

impl Process {
    async fn start(factory: impl JournalFactory + 'static) -> Self {
        Self::start_with(factory, 1 << 30, false).await
    }

    /// Starts with a log of so many bytes, and a sink that may stand still from the start.
    async fn start_with(
        factory: impl JournalFactory + 'static,
        bytes_max: u64,
        is_holding: bool,
    ) -> Self {
        let registry = Arc::new(Registry::default());
        let (types, budget) = (Arc::new(TypeTable::default()), MemoryBudget::new(1 << 20));
        let (sender, seen) = mpsc::channel(1 << 20);
        let taker = Taker {
            seen: sender,
            held: Vec::new(),
            is_holding,
        };
        let taker = taker.start();
        let (target, inlet) = (Inlet::new(), Inlet::new());
        target.open(taker.clone().recipient());
        let spec = OverflowSpec {
            sink: "slow".into(),
            factory: Arc::new(factory),
            spillway: Spillway::new("slow", inlet.clone()),
            target: target.clone(),
            types: types.clone(),
            budget: budget.clone(),
            bytes_max,
            registry: registry.clone(),
        };
        let (root, mut log) = supervised(spec);
        (&mut log.started).await.expect("it starts");
        let place = SourcePlace {
            name: "door".into(),
            next: inlet,
            durability: Durability::None,
            types,
            budget,
            registry: registry.clone(),
        };
        Self {
            door: door_at(&place).await,
            beside: SourcePlace {
                name: "beside".into(),
                next: target,
                ..place
            },
            seen,
            taker,
            registry,
            log,
            root,
        }
    }

    fn sink(&self) -> Arc<SinkStats> {
        self.registry.sink("slow")
    }

    /// Submits these events, ten a batch, and waits until they are done for their source.
    async fn store(&self, numbers: Range<u32>) {
        for first in numbers.clone().step_by(10) {
            let batch = events(first..numbers.end.min(first + 10));
            self.door.submit(batch).await;
        }
        self.registry.source("door").in_flight.drained().await;
    }

    async fn assert_next_are(&mut self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            self.assert_next_is(number).await;
        }
    }

    async fn tell(&self, is_holding: bool) {
        let told = match is_holding {
            true => self.taker.send(Hold).await,
            false => self.taker.send(LetGo).await,
        };
        told.expect("a living taker");
    }

    async fn assert_next_is(&mut self, number: u32) {
        let id = self.seen.recv().await.expect("a living taker");
        assert_eq!(id, number.to_string());
    }
}

/// Starts a source there.
async fn door_at(place: &SourcePlace) -> Submitter {
    let (sender, mut doors) = mpsc::channel(1 << 20);
    let spec = SourceSpec {
        factory: Arc::new(Door(Mutex::new(Some(sender)))),
        place: place.clone(),
    };
    start_source(spec, &Arbiter::current(), Lifeline::root().0);
    doors.recv().await.expect("an open door")
}

/// The log's actor below a supervisor that does not start it again.
fn supervised(spec: OverflowSpec) -> (Addr<Supervisor>, RootWatch) {
    let (lifeline, watch) = Lifeline::root();
    let registry = spec.registry.clone();
    let log = ChildSpec {
        id: "overflow".to_owned(),
        restart: Restart::Permanent,
        is_significant: false,
        shutdown: Duration::from_secs(60),
        start: Box::new(move |lifeline| {
            start_overflow(spec.clone(), &Arbiter::current(), lifeline);
        }),
    };
    let (restarts, backoff) = (RestartBudget::new(0, Duration::MAX), Backoff::default());
    let supervisor = Supervisor::new("root", vec![log], restarts, backoff, registry, lifeline);
    (supervisor.start(), watch)
}

/// Waits until the disk says so; the log writes it down by a timer.
async fn written(disk: &Disk, is_there: impl Fn(&State) -> bool) {
    while !is_there(&disk.lock()) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn what_the_sink_cannot_take_is_done_for_its_source_once_it_is_stored_and_comes_in_order() {
    System::new().block_on(async {
        let disk = Disk::default();
        let mut process = Process::start(disk.clone()).await;
        process.tell(true).await;
        process.store(0..3_000).await;
        assert_eq!(disk.lock().synced_end, 3_000);
        let sink = process.sink();
        // The sink's credits and a batch that is gathered are all that was read back.
        let read = 3_000 - sink.overflow.get();
        assert!((1..=2_100).contains(&read), "{read}");
        assert_eq!(process.registry.in_flight.get(), 3_000);
        assert!(
            disk.lock()
                .records
                .iter()
                .all(|stored| &*stored.source == "slow")
        );
        process.tell(false).await;
        process.assert_next_are(0..3_000).await;
        process.registry.in_flight.drained().await;
        assert_eq!(sink.overflow.get(), 0);
        assert!(process.registry.is_balanced());
        written(&disk, |state| state.finished.prefix() == 3_000).await;
        process.store(3_000..3_001).await;
        process.assert_next_is(3_000).await;
    });
}

#[test]
fn no_more_is_read_back_than_the_sink_has_room_for() {
    let disk = Disk::default();
    System::new().block_on(async {
        let process = Process::start(disk.clone()).await;
        process.tell(true).await;
        process.store(0..3_000).await;
    });
    System::new().block_on(async {
        let mut process = Process::start_with(disk.clone(), 1 << 30, true).await;
        process.store(3_000..3_010).await;
        let waiting = process.sink().overflow.get();
        assert!(waiting > 600, "{waiting}");
        process.tell(false).await;
        process.assert_next_are(0..3_010).await;
        process.registry.in_flight.drained().await;
        assert!(process.registry.is_balanced() && process.registry.dropped().is_empty());
    });
}

#[test]
fn what_was_not_delivered_comes_first_after_a_restart_and_what_cannot_be_read_is_counted() {
    let disk = Disk::default();
    System::new().block_on(async {
        let process = Process::start(disk.clone()).await;
        process.tell(true).await;
        process.store(0..50).await;
    });
    {
        let mut state = disk.lock();
        // Delivered beyond what is not; damaged; and no event any more.
        state.finished.insert(7..12);
        state.records.remove(2);
        state.records[2].lines.replace_range(0..1, "!");
    }
    System::new().block_on(async {
        let mut process = Process::start(disk.clone()).await;
        let sink = process.sink();
        assert_eq!(sink.offered.get(), 45);
        process.store(50..60).await;
        let kept = (0..7).chain(12..20).chain(31..60);
        process.assert_next_are(kept).await;
        process.registry.in_flight.drained().await;
        assert_eq!((sink.overflow.get(), sink.dead_lettered.get()), (0, 11));
        assert_eq!(process.registry.dropped(), [("journal-unreadable", 11)]);
        assert!(process.registry.is_balanced());
        written(&disk, |state| state.finished.prefix() == 60).await;
    });
}

#[test]
fn what_passes_a_full_disk_is_before_what_waits_and_the_log_goes_on_once_there_is_room() {
    System::new().block_on(async {
        let disk = Disk::default();
        let mut process = Process::start(disk.clone()).await;
        process.tell(true).await;
        process.store(0..20).await;
        disk.lock().is_full = true;
        for number in 20..40 {
            process.door.submit(events(number..number + 1)).await;
        }
        process.assert_next_are(0..20).await;
        assert_eq!(process.registry.source("door").in_flight.get(), 20);
        // With nothing in the log, what waits goes to the sink from memory.
        process.tell(false).await;
        process.assert_next_are(20..40).await;
        process.registry.in_flight.drained().await;
        assert_eq!(disk.lock().end, 20);
        disk.lock().is_full = false;
        let mut next = 40;
        while disk.lock().end == 20 {
            process.store(next..next + 1).await;
            process.assert_next_is(next).await;
            next += 1;
        }
        process.registry.in_flight.drained().await;
        assert!(process.registry.is_balanced());
    });
}

#[test]
fn what_passed_a_full_disk_is_stored_before_what_comes_behind_it() {
    let disk = Disk::default();
    System::new().block_on(async {
        let mut process = Process::start(disk.clone()).await;
        process.store(0..10).await;
        process.assert_next_are(0..10).await;
        process.registry.in_flight.drained().await;
        written(&disk, |state| state.finished.prefix() == 10).await;
        disk.lock().is_full = true;
        process.tell(true).await;
        for number in 10..20 {
            process.door.submit(events(number..number + 1)).await;
        }
        // As many as the sink has credits for.
        process.assert_next_are(10..12).await;
        assert_eq!(disk.lock().end, 10);
        disk.lock().is_full = false;
        process.registry.source("door").in_flight.drained().await;
        assert_eq!(disk.lock().synced_end, 20);
    });
    System::new().block_on(async {
        let mut process = Process::start(disk.clone()).await;
        process.assert_next_are(10..20).await;
    });
}

#[test]
fn a_sink_that_stands_still_does_not_hold_up_who_has_sent_to_it() {
    let disk = Disk::default();
    System::new().block_on(async {
        tokio::time::pause();
        let mut process = Process::start(disk.clone()).await;
        process.tell(true).await;
        let beside = door_at(&process.beside).await;
        beside.submit(events(0..3)).await;
        process.assert_next_are(0..3).await;
        let sent = Instant::now();
        process.registry.source("beside").in_flight.drained().await;
        assert!(sent.elapsed() >= Duration::from_secs(5));
        assert_eq!(
            (disk.lock().synced_end, process.registry.in_flight.get()),
            (3, 3)
        );
    });
    // The next process has them from the log, though no source keeps them.
    System::new().block_on(async {
        let mut process = Process::start(disk.clone()).await;
        process.assert_next_are(0..3).await;
        process.registry.in_flight.drained().await;
        written(&disk, |state| state.finished.prefix() == 3).await;
        assert!(process.registry.is_balanced());
    });
}

#[test]
fn what_found_room_before_the_disk_was_full_is_done_for_its_source() {
    let disk = Disk::default();
    disk.lock().room = Some(1);
    System::new().block_on(async {
        tokio::time::pause();
        let mut process = Process::start(disk.clone()).await;
        process.tell(true).await;
        let beside = door_at(&process.beside).await;
        for first in [0, 3] {
            beside.submit(events(first..first + 3)).await;
        }
        process.assert_next_are(0..6).await;
        // Once the sink has stood still for so long, copies are written: of the first batch only.
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(1)).await;
            tokio::task::yield_now().await;
        }
        let beside = process.registry.source("beside");
        let synced_end = disk.lock().synced_end;
        assert_eq!((beside.in_flight.get(), synced_end), (3, 3));
    });
}

#[test]
fn beyond_its_bytes_the_log_takes_nothing_until_the_sink_has_gone_on() {
    System::new().block_on(async {
        let disk = Disk::default();
        // Of which each event has a hundred.
        let mut process = Process::start_with(disk.clone(), 300_000, false).await;
        process.tell(true).await;
        for first in (0..9_000).step_by(10) {
            process.door.submit(events(first..first + 10)).await;
        }
        let source = process.registry.source("door");
        written(&disk, |state| state.end > 3_000).await;
        assert!(disk.lock().end < 6_000, "{}", disk.lock().end);
        assert!(source.in_flight.get() > 3_000);
        process.tell(false).await;
        process.assert_next_are(0..9_000).await;
        process.registry.in_flight.drained().await;
        assert!(process.registry.is_balanced());
    });
}

#[test]
fn a_log_that_fails_ends_the_process_and_its_events_are_not_done() {
    System::new().block_on(async {
        let disk = Disk::default();
        let process = Process::start(disk.clone()).await;
        disk.lock().is_broken = true;
        process.door.submit(events(0..3)).await;
        let exit = process.log.exited.await.expect("its end is told");
        let ExitReason::Failed(reason) = exit else {
            panic!("{exit:?}")
        };
        let expected = "the overflow log of the sink `slow` failed: broken";
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(process.registry.source("door").finished.get(), 0);
    });
}

#[test]
fn a_stop_writes_down_what_is_delivered_and_leaves_the_rest_to_the_next_process() {
    System::new().block_on(async {
        let disk = Disk::default();
        let mut process = Process::start(disk.clone()).await;
        process.store(0..10).await;
        process.assert_next_are(0..10).await;
        process.registry.in_flight.drained().await;
        process.tell(true).await;
        process.store(10..20).await;
        process.assert_next_are(10..20).await;
        control(&process.root.clone().recipient(), Stop::Drain);
        let exit = process.log.exited.await.expect("its end is told");
        assert_eq!(exit, ExitReason::Normal);
        assert_eq!(disk.lock().finished.prefix(), 10);
    });
}

#[test]
fn a_stop_waits_for_what_has_found_no_room_yet() {
    System::new().block_on(async {
        tokio::time::pause();
        let disk = Disk::default();
        let mut process = Process::start(disk.clone()).await;
        process.tell(true).await;
        disk.lock().is_full = true;
        for number in 0..4 {
            process.door.submit(events(number..number + 1)).await;
        }
        process.assert_next_are(0..2).await;
        control(&process.root.clone().recipient(), Stop::Drain);
        let ends = tokio::time::timeout(Duration::from_secs(1), &mut process.log.exited);
        assert!(ends.await.is_err());
        disk.lock().is_full = false;
        let exit = process.log.exited.await.expect("its end is told");
        assert_eq!((exit, disk.lock().synced_end), (ExitReason::Normal, 4));
    });
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
