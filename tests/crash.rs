//! Accepted means kept, at a size for every run of the tests: kills, power cuts, a full disk, a sink that is down, stops.
//! A failure prints its seed and keeps its folder; `docs/crash-testing.md` says how to replay it, and at which size to
//! run the same by hand.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use veltrix::journal::{DiskStorage, Log, Options, SystemClock};
use veltrix_actors::Finished;
use veltrix_crash::{
    Blows, Durability, FileSystem, Ground, Load, Outage, Report, Setup, Stops, Volume, Wiring,
    disk_full, kill, power, sigterm, sink_down, unfinished_events,
};

fn ground(wiring: Wiring, file_sync: Option<&str>) -> Ground {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let folder = tempfile::Builder::new().prefix("veltrix-crash-").tempdir();
    Ground {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_veltrix")),
        folder: folder.expect("a folder").keep(),
        seed: u64::from(now.expect("after 1970").subsec_nanos()),
        setup: Setup {
            wiring,
            durability: Durability::Journal,
            file_sync: file_sync.map(str::to_owned),
            segment_bytes: 1 << 20,
            retain_bytes: 2 << 20,
            drain: Duration::from_secs(60),
        },
        load: Load {
            clients: 64,
            keys: 1_000,
            payload_bytes: 300,
            // The machine has other tests to run meanwhile.
            pause: Duration::from_millis(100),
        },
        keeps_folders: false,
        is_talkative: false,
    }
}

fn blows(count: u64, interval: u64) -> Blows {
    Blows {
        count,
        in_round: 20,
        interval: Duration::from_millis(interval),
        mutilates: true,
        ready_within: None,
        is_receiver_down: false,
        backlog_bytes: 0,
    }
}

#[track_caller]
fn assert_good(ground: &Ground, report: anyhow::Result<Report>) -> Report {
    let report = report.unwrap_or_else(|error| panic!("seed {}: {error:#}", ground.seed));
    assert!(report.is_good(), "{}", report.table());
    std::fs::remove_dir_all(&ground.folder).expect("a folder of its own");
    report
}

/// Says that this machine cannot do what a test is about; true if so.
fn cannot(what: &str, ground: &Ground, tried: anyhow::Result<Volume>) -> bool {
    let Err(error) = tried else {
        return false;
    };
    let said = writeln!(std::io::stderr(), "NOT TESTED, {what}: {error:#}");
    said.expect("standard error is open");
    std::fs::remove_dir_all(&ground.folder).expect("a folder of its own");
    true
}

fn cut(file_system: FileSystem) {
    let ground = ground(Wiring::Usual, Some("always"));
    if cannot(
        "power cuts",
        &ground,
        Volume::image(&ground.folder, file_system),
    ) {
        return;
    }
    let report = power(&ground, &blows(50, 20), file_system);
    let report = assert_good(&ground, report);
    assert_eq!(report.blows, 50);
    assert!(report.acked > 0);
}

#[test]
fn sixty_kills_lose_nothing() {
    let ground = ground(Wiring::Usual, Some("always"));
    let report = kill(&ground, &blows(60, 150));
    let report = assert_good(&ground, report);
    assert_eq!((report.blows, report.rounds), (60, 3));
    assert!(report.acked > 1_000, "{}", report.table());
}

#[test]
fn kills_lose_nothing_that_waits_for_a_receiver() {
    let ground = ground(Wiring::Usual, Some("always"));
    let mut blows = blows(20, 100);
    blows.is_receiver_down = true;
    assert_good(&ground, kill(&ground, &blows));
}

#[test]
fn what_kills_lose_without_durability_is_found() {
    let mut ground = ground(Wiring::Usual, None);
    ground.setup.durability = Durability::None;
    // One in ten processes is killed before it takes anything in; not all of ten are.
    let mut blows = blows(10, 100);
    blows.is_receiver_down = true;
    let report = kill(&ground, &blows).expect("a report");
    let lost = |what: &str| what.starts_with("hook: ") && what.contains("acknowledged events lost");
    let is_found = report
        .violations
        .iter()
        .any(|violation| lost(&violation.what));
    assert!(is_found, "{}", report.table());
    std::fs::remove_dir_all(&ground.folder).expect("a folder of its own");
}

#[test]
fn fifty_power_cuts_on_xfs_lose_nothing() {
    cut(FileSystem::Xfs);
}

#[test]
fn fifty_power_cuts_on_ext4_lose_nothing() {
    cut(FileSystem::Ext4);
}

#[test]
fn a_full_disk_loses_and_restarts_nothing() {
    let ground = ground(Wiring::Usual, None);
    if cannot(
        "full disks",
        &ground,
        Volume::memory(&ground.folder, 1 << 20),
    ) {
        return;
    }
    let report = disk_full(&ground, 5);
    assert_good(&ground, report);
}

#[test]
fn a_sink_that_is_down_holds_up_nobody_else() {
    let ground = ground(Wiring::Neighbours, None);
    let outage = Outage {
        events: 20_000,
        time: Duration::ZERO,
        checks_rates: false,
    };
    let report = sink_down(&ground, &outage);
    assert_good(&ground, report);
}

#[test]
fn stops_under_load_lose_and_repeat_nothing() {
    let ground = ground(Wiring::Usual, None);
    let stops = Stops {
        runs: 10,
        in_round: 5,
        interval: Duration::from_millis(150),
    };
    let report = assert_good(&ground, sigterm(&ground, &stops));
    assert_eq!(report.blows, 10);
}

#[test]
fn the_harness_reads_the_journals_files_as_the_journal_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        segment_bytes: 64 << 10,
        retain_bytes: 128 << 10,
        retain_age: Duration::from_secs(3_600),
    };
    let storage = DiskStorage::create(folder.path()).expect("a storage");
    let (mut log, _) = Log::open(storage, SystemClock, options).expect("a log");
    assert_eq!(unfinished_events(folder.path()).expect("read"), 0);
    let payload = [b'x'; 1_000];
    for _ in 0..300 {
        log.append("web", 3, &[&payload]).expect("appended");
    }
    log.sync().expect("synced");
    assert_eq!(unfinished_events(folder.path()).expect("read"), 900);
    let mut finished = Finished::below(700);
    finished.insert(800..810);
    log.persist(&finished, true).expect("persisted");
    assert_eq!(unfinished_events(folder.path()).expect("read"), 190);
    finished.insert(700..900);
    log.persist(&finished, false).expect("persisted");
    assert_eq!(unfinished_events(folder.path()).expect("read"), 0);
}
