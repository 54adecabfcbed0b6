//! The journal between sources and router: when events are accepted, what a restart reads back, and what happens when the
//! disk is full or fails.

#[path = "support/journal.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::{Actor, Addr};
use actix_rt::{Arbiter, System};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use support::{Disk, Door, LetGo, LetOneGo, State, Taker, events, line};
use tokio::sync::mpsc;
use veltrix_actors::mailbox::{Inlet, control};
use veltrix_actors::{
    Admission, Backoff, ChildSpec, DedupeSpec, Durability, ExitReason, Intake, JournalSpec,
    Lifeline, MemoryBudget, Registry, Restart, RestartBudget, RootWatch, Source, SourceFactory,
    SourcePlace, SourcePort, SourceSpec, StartError, Stop, Stored, Submitter, Supervisor,
    TypeTable, start_journal, start_source,
};

/// Enough for three thousand events, at a hundred each.
const BACKLOG_BYTES_MAX: u64 = 300_000;

/// A process: a source, the journal, and the taker.
struct Process {
    door: Submitter,
    seen: mpsc::Receiver<String>,
    taker: Addr<Taker>,
    place: SourcePlace,
    registry: Arc<Registry>,
    journal: RootWatch,
}

impl Process {
    async fn start(disk: &Disk, is_holding: bool) -> Self {
        Self::start_by(disk, is_holding, |spec, inlet| {
            let (lifeline, journal) = Lifeline::root();
            start_journal(spec, inlet, &Arbiter::current(), lifeline);
            journal
        })
        .await
    }

    async fn start_by(
        disk: &Disk,
        is_holding: bool,
        start: impl FnOnce(JournalSpec, Arc<Inlet>) -> RootWatch,
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
        let (router, inlet) = (Inlet::new(), Inlet::new());
        router.open(taker.clone().recipient());
        let spec = JournalSpec {
            factory: Arc::new(disk.clone()),
            router,
            types: types.clone(),
            budget: budget.clone(),
            backlog_bytes_max: BACKLOG_BYTES_MAX,
            replay: None,
            dedupe: None,
            registry: registry.clone(),
        };
        let mut journal = start(spec, inlet.clone());
        (&mut journal.started).await.expect("it starts");
        let (sender, mut doors) = mpsc::channel(1 << 20);
        let place = SourcePlace {
            name: "door".into(),
            next: inlet,
            durability: Durability::Journal,
            types,
            budget,
            registry: registry.clone(),
        };
        start_at(&place, Door(Mutex::new(Some(sender))));
        Self {
            door: doors.recv().await.expect("an open door"),
            seen,
            taker,
            place,
            registry,
            journal,
        }
    }

    async fn submit(&self, numbers: Range<u32>) -> Admission {
        self.door.submit(events(numbers)).await
    }

    async fn seen(&mut self, count: usize) -> Vec<u32> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let id = self.seen.recv().await.expect("a living taker");
            seen.push(id.parse().expect("a number"));
        }
        seen
    }
}

fn start_at(place: &SourcePlace, factory: impl SourceFactory + 'static) {
    let spec = SourceSpec {
        factory: Arc::new(factory),
        place: place.clone(),
    };
    start_source(spec, &Arbiter::current(), Lifeline::root().0);
}

/// Waits until the disk says so; the journal writes it down by a timer.
async fn written(disk: &Disk, is_there: impl Fn(&State) -> bool) {
    while !is_there(&disk.lock()) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn events_are_accepted_once_they_are_on_disk_and_noted_once_they_are_finished() {
    System::new().block_on(async {
        let disk = Disk::default();
        let mut process = Process::start(&disk, true).await;
        assert_eq!(process.submit(0..3).await, Admission::Accepted);
        assert_eq!(disk.lock().synced_end, 3);
        assert_eq!(process.submit(3..5).await, Admission::Accepted);
        assert_eq!(process.seen(5).await, [0, 1, 2, 3, 4]);
        let source = process.registry.source("door");
        assert_eq!((source.accepted.get(), source.finished.get()), (5, 0));
        process.taker.send(LetGo).await.expect("a living taker");
        source.in_flight.drained().await;
        assert_eq!(source.finished.get(), 5);
        written(&disk, |state| state.finished.prefix() == 5).await;
        // What the router has room for is not read back.
        assert_eq!(disk.lock().reads, 0);
    });
}

#[test]
fn what_was_not_finished_comes_again_first_and_new_events_are_accepted_meanwhile() {
    let disk = Disk::default();
    System::new().block_on(async {
        let mut process = Process::start(&disk, true).await;
        // The first ones are not finished, and the others wait for them on disk.
        for start in (0..3000).step_by(10) {
            assert_eq!(process.submit(start..start + 10).await, Admission::Accepted);
        }
        process.seen(10).await;
        let journal = &process.registry.journal;
        assert!(journal.backlog.get() > 1500, "{}", journal.backlog.get());
    });
    // Some of it was, beyond what was not.
    disk.lock().finished.insert(7..12);
    System::new().block_on(async {
        let mut process = Process::start(&disk, true).await;
        let first_seen = process.seen(1).await;
        assert_eq!(process.submit(3000..3010).await, Admission::Accepted);
        assert_eq!(
            process.registry.source("door").in_flight.get() as usize,
            process.registry.source("door").accepted.get() as usize
        );
        // No more is read than the router has room for.
        let backlog = process.registry.journal.backlog.get();
        assert!(backlog > 600, "{backlog}");
        process.taker.send(LetGo).await.expect("a living taker");
        let expected: Vec<u32> = (0..7).chain(12..3010).collect();
        let mut seen = first_seen;
        seen.extend(process.seen(expected.len() - 1).await);
        assert_eq!(seen, expected);
        process.registry.in_flight.drained().await;
        let source = process.registry.source("door");
        assert_eq!(
            (source.recovered.get(), source.finished.get()),
            (2995, 3005)
        );
        assert_eq!(
            (
                source.in_flight.get(),
                process.registry.journal.backlog.get()
            ),
            (0, 0)
        );
        assert!(process.registry.dropped().is_empty());
        assert_eq!(process.submit(3010..3011).await, Admission::Accepted);
        assert_eq!(process.seen(1).await, [3010]);
        written(&disk, |state| state.finished.prefix() == 3011).await;
    });
}

#[test]
fn what_is_damaged_on_the_disk_is_counted_and_holds_nothing_up() {
    let disk = Disk::default();
    System::new().block_on(async {
        let mut process = Process::start(&disk, true).await;
        for start in (0..50).step_by(10) {
            assert_eq!(process.submit(start..start + 10).await, Admission::Accepted);
        }
        process.seen(10).await;
    });
    {
        let mut state = disk.lock();
        // Gone; and no event any more.
        state.records.remove(1);
        state.records[1].lines.replace_range(0..1, "!");
        state.finished.insert(0..3);
    }
    System::new().block_on(async {
        let mut process = Process::start(&disk, false).await;
        assert_eq!(process.submit(50..60).await, Admission::Accepted);
        let expected: Vec<u32> = (3..10).chain(21..60).collect();
        assert_eq!(process.seen(expected.len()).await, expected);
        process.registry.in_flight.drained().await;
        assert_eq!(process.registry.dropped(), [("journal-unreadable", 11)]);
        assert_eq!(process.registry.journal.backlog.get(), 0);
        assert!(process.registry.is_balanced());
        written(&disk, |state| state.finished.prefix() == 60).await;
    });
}

/// Starts with a journal that knows what came within an hour, of the last ten thousand events.
async fn start_knowing(disk: &Disk) -> Process {
    Process::start_by(disk, false, |mut spec, inlet| {
        spec.dedupe = Some(DedupeSpec {
            window: Duration::from_secs(3600),
            keys_max: 10_000,
        });
        let (lifeline, journal) = Lifeline::root();
        start_journal(spec, inlet, &Arbiter::current(), lifeline);
        journal
    })
    .await
}

#[test]
fn what_came_before_is_answered_and_not_stored_again_also_after_a_restart() {
    let disk = Disk::default();
    System::new().block_on(async {
        let mut process = start_knowing(&disk).await;
        assert_eq!(process.submit(0..3).await, Admission::Accepted);
        assert_eq!(process.submit(1..5).await, Admission::Accepted);
        assert_eq!(process.submit(0..2).await, Admission::Accepted);
        assert_eq!(disk.lock().end, 5);
        assert_eq!(process.registry.dropped(), [("duplicate", 4)]);
        // As one of those, and not as the other.
        let mut contradictory = Intake::over(String::new());
        for (id, kind) in [(1, "t"), (2, "other"), (5, "t")] {
            let line =
                format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"{kind}"}}"#);
            let mut types = veltrix_actors::detached_types();
            contradictory
                .push_line(&line, &mut types)
                .expect("an event");
        }
        let answer = process.door.submit(contradictory).await;
        assert_eq!(answer, Admission::Conflicting(1));
        // What finds no room is not known.
        disk.lock().is_full = true;
        assert_eq!(process.submit(4..8).await, Admission::Full);
        assert_eq!(process.submit(20..22).await, Admission::Full);
        disk.lock().is_full = false;
        assert_eq!(process.submit(4..8).await, Admission::Accepted);
        assert_eq!(process.submit(20..22).await, Admission::Accepted);
        assert_eq!(process.seen(10).await, [0, 1, 2, 3, 4, 5, 6, 7, 20, 21]);
        process.registry.in_flight.drained().await;
        let source = process.registry.source("door");
        assert_eq!((source.accepted.get(), source.finished.get()), (17, 17));
        assert_eq!(source.rejected(), [("id_conflict", 1), ("journal_full", 6)]);
        assert_eq!(process.registry.dropped(), [("duplicate", 7)]);
        assert!(process.registry.is_balanced());
    });
    // It came too long ago.
    disk.lock().records[0].at = std::time::UNIX_EPOCH;
    System::new().block_on(async {
        let mut process = start_knowing(&disk).await;
        assert_eq!(process.submit(0..8).await, Admission::Accepted);
        assert_eq!(process.submit(8..9).await, Admission::Accepted);
        assert_eq!(process.registry.dropped(), [("duplicate", 5)]);
        let mut seen = process.seen(4).await;
        while seen.last() != Some(&8) {
            seen.extend(process.seen(1).await);
        }
        // What was not written down as finished comes again as well.
        assert!(seen.ends_with(&[0, 1, 2, 8]), "{seen:?}");
    });
}

#[test]
fn a_full_disk_refuses_those_who_ask_and_harms_nobody() {
    System::new().block_on(async {
        let disk = Disk::default();
        let mut process = Process::start(&disk, false).await;
        assert_eq!(process.submit(0..1).await, Admission::Accepted);
        disk.lock().is_full = true;
        assert_eq!(process.submit(1..3).await, Admission::Full);
        assert!(process.registry.journal.is_full());
        disk.lock().is_full = false;
        assert_eq!(process.submit(3..4).await, Admission::Accepted);
        assert!(!process.registry.journal.is_full());
        assert_eq!(process.seen(2).await, [0, 3]);
        let source = process.registry.source("door");
        assert_eq!(source.rejected(), [("journal_full", 2)]);
        assert_eq!((source.accepted.get(), source.pending.get()), (2, 0));
        assert!(process.registry.is_balanced());
    });
}

#[test]
fn who_can_be_refused_is_refused_once_the_backlog_is_long() {
    System::new().block_on(async {
        let disk = Disk::default();
        let mut process = Process::start(&disk, true).await;
        let mut accepted = 0;
        while process.submit(accepted..accepted + 100).await == Admission::Accepted {
            accepted += 100;
        }
        assert!((3000..6000).contains(&accepted), "{accepted}");
        // The last batch was taken when the limit was just reached.
        assert_eq!(process.registry.journal.backlog.get(), 3_100);
        process.taker.send(LetGo).await.expect("a living taker");
        let expected: Vec<u32> = (0..accepted).collect();
        assert_eq!(process.seen(expected.len()).await, expected);
        let number = accepted;
        assert_eq!(
            process.submit(number..number + 1).await,
            Admission::Accepted
        );
    });
}

#[test]
fn after_a_failed_sync_nothing_is_accepted_and_everybody_is_told() {
    System::new().block_on(async {
        let disk = Disk::default();
        let mut process = Process::start(&disk, true).await;
        assert_eq!(process.submit(0..1).await, Admission::Accepted);
        disk.lock().is_broken = true;
        let (first, second) = futures::join!(process.submit(1..2), process.submit(2..3));
        assert_eq!((first, second), (Admission::Failed, Admission::Failed));
        let exit = (&mut process.journal.exited)
            .await
            .expect("its end is told");
        assert_eq!(
            exit,
            ExitReason::Failed("the journal failed: broken".to_owned())
        );
        assert_eq!(process.submit(3..4).await, Admission::Failed);
        assert!(process.registry.journal.is_sealed());
        assert_eq!(process.registry.source("door").accepted.get(), 1);
    });
}

/// Submits one event, and would rather wait for a full disk than have it refused.
struct Patient;

impl SourceFactory for Patient {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        Ok(Box::new(Self))
    }
}

impl Source for Patient {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        async move {
            port.report_ready();
            port.submit(events(0..1));
            port.draining().await;
            Ok(())
        }
        .boxed_local()
    }
}

/// Submits two events that had rather wait for a full disk; when it comes to the second there is room again.
struct PatientTwice(Disk);

impl SourceFactory for PatientTwice {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        Ok(Box::new(Self(self.0.clone())))
    }
}

impl Source for PatientTwice {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        async move {
            port.report_ready();
            port.submit(events(0..1));
            while !self.0.lock().was_full {
                tokio::task::yield_now().await;
            }
            self.0.lock().is_full = false;
            port.submit(events(1..2));
            port.draining().await;
            Ok(())
        }
        .boxed_local()
    }
}

#[test]
fn what_waits_for_a_full_disk_is_not_overtaken_and_holds_up_nobody_who_can_be_refused() {
    System::new().block_on(async {
        let disk = Disk::default();
        disk.lock().is_full = true;
        let mut process = Process::start(&disk, false).await;
        start_at(&process.place, Patient);
        while !process.registry.journal.is_full() {
            tokio::task::yield_now().await;
        }
        assert_eq!(process.submit(1..2).await, Admission::Full);
        disk.lock().is_full = false;
        assert_eq!(process.seen(1).await, [0]);
        // Of two that wait, neither comes before the other.
        let disk = Disk::default();
        disk.lock().is_full = true;
        let mut process = Process::start(&disk, false).await;
        start_at(&process.place, PatientTwice(disk.clone()));
        assert_eq!(process.seen(2).await, [0, 1]);
    });
}

/// Submits batches of so many events that had rather wait than be refused, the first with this number.
struct Steady(u32, &'static [u32]);

impl SourceFactory for Steady {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        Ok(Box::new(Self(self.0, self.1)))
    }
}

impl Source for Steady {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        async move {
            port.report_ready();
            let Self(mut first, batches) = *self;
            for count in batches {
                port.room().await;
                port.submit(events(first..first + count));
                first += count;
            }
            port.draining().await;
            Ok(())
        }
        .boxed_local()
    }
}

#[test]
fn who_cannot_be_refused_stores_as_much_as_is_read_back_while_there_is_a_backlog() {
    System::new().block_on(async {
        tokio::time::pause();
        // Twenty batches of a process before this one.
        let disk = Disk::default();
        for first in (0..20_000).step_by(1_000) {
            let mut state = disk.lock();
            state.records.push(Stored {
                first: u64::from(first),
                events: 1_000,
                at: std::time::SystemTime::now(),
                source: "door".into(),
                lines: (first..first + 1_000)
                    .map(|number| line(number) + "\n")
                    .collect(),
            });
            state.synced_end += 1_000;
        }
        let mut process = Process::start_by(&disk, true, |mut spec, inlet| {
            spec.backlog_bytes_max = u64::MAX;
            let (lifeline, journal) = Lifeline::root();
            start_journal(spec, inlet, &Arbiter::current(), lifeline);
            journal
        })
        .await;
        let stored = async || {
            // Time passes once nobody has anything to do.
            let passes = tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>());
            assert!(passes.await.is_err());
            disk.lock().end - 20_000
        };
        assert_eq!(stored().await, 0);
        start_at(
            &process.place,
            Steady(20_000, &[300, 300, 1_000, 1_000, 1_000, 1_000]),
        );
        // Its credits.
        assert_eq!(stored().await, 600);
        // A batch is read for each that goes.
        process.taker.send(LetOneGo).await.expect("a living taker");
        assert_eq!(stored().await, 2_600);
        process.taker.send(LetOneGo).await.expect("a living taker");
        assert_eq!(stored().await, 3_600);
        process.taker.send(LetGo).await.expect("a living taker");
        assert_eq!(process.seen(24_600).await, (0..24_600).collect::<Vec<_>>());
        process.registry.in_flight.drained().await;
        assert!(process.registry.is_balanced());
    });
}

/// Starts with the journal below a supervisor.
async fn start_supervised(disk: &Disk, is_holding: bool) -> (Process, Addr<Supervisor>) {
    let mut root = None;
    let process = Process::start_by(disk, is_holding, |spec, inlet| {
        let (lifeline, watch) = Lifeline::root();
        let registry = spec.registry.clone();
        let journal = ChildSpec {
            id: "journal".to_owned(),
            restart: Restart::Permanent,
            is_significant: false,
            shutdown: Duration::from_secs(60),
            start: Box::new(move |lifeline| {
                start_journal(spec.clone(), inlet.clone(), &Arbiter::current(), lifeline);
            }),
        };
        let restarts = RestartBudget::new(0, Duration::from_secs(60));
        let backoff = Backoff::default();
        let supervisor =
            Supervisor::new("root", vec![journal], restarts, backoff, registry, lifeline);
        root = Some(supervisor.start());
        watch
    })
    .await;
    (process, root.expect("it was started"))
}

#[test]
fn a_stop_waits_until_the_router_has_what_was_accepted() {
    System::new().block_on(async {
        tokio::time::pause();
        let disk = Disk::default();
        let (mut process, root) = start_supervised(&disk, true).await;
        for number in 0..30 {
            assert_eq!(
                process.submit(number..number + 1).await,
                Admission::Accepted
            );
        }
        process.seen(2).await;
        control(&root.recipient(), Stop::Drain);
        let ends = tokio::time::timeout(Duration::from_secs(1), &mut process.journal.exited);
        assert!(ends.await.is_err());
        process.taker.send(LetGo).await.expect("a living taker");
        assert_eq!(process.seen(28).await, (2..30).collect::<Vec<_>>());
        let exit = (&mut process.journal.exited).await;
        assert_eq!(exit, Ok(ExitReason::Normal));
    });
}

#[test]
fn a_stop_is_done_once_what_waits_for_a_full_disk_is_given_up() {
    System::new().block_on(async {
        tokio::time::pause();
        let disk = Disk::default();
        disk.lock().is_full = true;
        let (process, root) = start_supervised(&disk, false).await;
        start_at(&process.place, Patient);
        while !process.registry.journal.is_full() {
            tokio::task::yield_now().await;
        }
        process.registry.end_input(std::time::Instant::now());
        let begun = tokio::time::Instant::now();
        control(&root.recipient(), Stop::Drain);
        let exit = process.journal.exited.await.expect("its end is told");
        assert_eq!(exit, ExitReason::Normal);
        let lasted = begun.elapsed();
        assert!(lasted < Duration::from_secs(1), "it lasted {lasted:?}");
        assert_eq!(process.place.registry.source("door").pending.get(), 0);
    });
}

#[test]
fn what_is_finished_while_the_disk_is_full_is_written_down_once_there_is_room() {
    System::new().block_on(async {
        let disk = Disk::default();
        let mut process = Process::start(&disk, true).await;
        assert_eq!(process.submit(0..2).await, Admission::Accepted);
        process.seen(2).await;
        disk.lock().is_full = true;
        process.taker.send(LetGo).await.expect("a living taker");
        process.registry.in_flight.drained().await;
        written(&disk, |state| state.unpersisted > 0).await;
        tokio::task::yield_now().await;
        assert_eq!(process.registry.journal.finished(), 0);
        disk.lock().is_full = false;
        // Nothing else is finished meanwhile.
        written(&disk, |state| state.finished.prefix() == 2).await;
        assert_eq!(process.registry.journal.finished(), 2);
    });
}
