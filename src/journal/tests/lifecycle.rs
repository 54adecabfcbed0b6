//! What a log does while nothing is broken, and when the disk fails or is full.

use std::time::Duration;

use veltrix_actors::Finished;

use super::simulated::{SimulatedClock, SimulatedDisk};
use super::{OPTIONS, SimulatedLog, append, open, read_from, text, try_open};
use crate::journal::{AppendError, DiskStorage, Log, Next, Options, SystemClock};

#[test]
fn what_was_synced_is_read_again_in_order_across_segments_and_starts() {
    let disk = SimulatedDisk::new(1);
    let (mut log, recovered) = open(&disk);
    assert_eq!((recovered.end, recovered.segments), (0, 0));
    append(&mut log, &[1, 3, 1_024, 1]);
    append(&mut log, &[2; 20]);
    let (records, lost) = read_from(&mut log, 0);
    assert_eq!(records[..4], [0, 1, 4, 1_028]);
    assert_eq!((records.len(), lost.end()), (24, 0));
    let bytes = log.bytes_from(0);
    assert!(bytes <= log.bytes() && log.bytes_from(1_049) < bytes / 2 + 200);
    assert_eq!(log.bytes_from(1_069), 0);
    // A record is found by any of its sequences.
    assert_eq!(read_from(&mut log, 1_000).0[0], 4);
    drop(log);
    disk.with(|disk| disk.kill());
    let (mut log, recovered) = open(&disk);
    assert_eq!((recovered.end, recovered.torn_bytes), (1_069, 0));
    assert!(recovered.segments > 3, "{recovered:?}");
    assert!(recovered.damaged.is_empty() && !recovered.is_cursor_lost);
    assert_eq!(read_from(&mut log, 0).0, records);
    append(&mut log, &[1]);
    assert_eq!(read_from(&mut log, 1_029).0.last(), Some(&1_069));
}

#[test]
fn a_reader_sees_nothing_that_is_not_synced() {
    let disk = SimulatedDisk::new(2);
    let (mut log, _) = open(&disk);
    append(&mut log, &[1]);
    log.append("shop", 1, &[text(1).as_bytes()]).unwrap();
    assert_eq!((log.end(), log.synced()), (2, 1));
    assert_eq!(read_from(&mut log, 0).0, [0]);
    assert_eq!(log.read(1, &mut Vec::new()).unwrap(), Next::End);
    assert_eq!(log.sync().unwrap(), 2);
    assert_eq!(read_from(&mut log, 1).0, [1]);
    // Nothing is synced again.
    let operations = disk.with(|disk| disk.operations);
    assert_eq!(log.sync().unwrap(), 2);
    assert_eq!(disk.with(|disk| disk.operations), operations);
}

#[test]
fn what_is_left_of_a_segment_is_its_share_by_events() {
    let disk = SimulatedDisk::new(17);
    append(&mut open(&disk).0, &[1; 4]);
    let (log, recovered) = open(&disk);
    assert_eq!((recovered.segments, log.bytes()), (1, recovered.bytes));
    for events in 0..=4 {
        let share = recovered.bytes * (4 - events) / 4;
        assert_eq!(log.bytes_from(events), share, "{events}");
    }
    append(&mut open(&disk).0, &[1; 20]);
    let (log, recovered) = open(&disk);
    assert!(recovered.segments > 2);
    assert_eq!(log.bytes_from(0), recovered.bytes);
}

/// Whoever reads behind one who appends gets each record, and the file is opened once.
#[test]
fn to_read_on_costs_no_search_and_misses_nothing_that_came_meanwhile() {
    let disk = SimulatedDisk::new(15);
    let options = Options {
        segment_bytes: 1 << 20,
        ..OPTIONS
    };
    let clock = SimulatedClock::default();
    let (mut log, _): (SimulatedLog, _) = Log::open(disk.clone(), clock, options).unwrap();
    append(&mut log, &[1]);
    disk.with(|disk| disk.faults.is_traced = true);
    let opens = || {
        let is_open = |called: &&String| called.starts_with("open ");
        disk.with(|disk| disk.trace.iter().filter(is_open).count())
    };
    for number in 0..9 {
        assert_eq!(read_from(&mut log, number).0, [number]);
        append(&mut log, &[1]);
    }
    assert_eq!(opens(), 1);
    // Over damage, too.
    let name = format!("{:020}.seg", 0);
    let tenth: usize = (0..9).map(|number| 52 + text(number).len()).sum();
    disk.with(|disk| disk.edit(&name, |bytes| bytes[32 + tenth + 8] ^= 1));
    append(&mut log, &[1; 2]);
    let (records, lost) = read_from(&mut log, 9);
    assert_eq!((records, lost.end()), (vec![10, 11], 10));
    assert_eq!(opens(), 1);
    // To go back is to begin again.
    assert_eq!(read_from(&mut log, 3).0.len(), 8);
    assert_eq!(opens(), 2);
}

#[test]
fn a_large_record_has_a_segment_of_its_own() {
    let disk = SimulatedDisk::new(3);
    let (mut log, _) = open(&disk);
    append(&mut log, &[1]);
    let large = "y".repeat(5_000);
    let first = log.append("t", 1, &[large.as_bytes()]).unwrap();
    append(&mut log, &[1]);
    let mut payload = Vec::new();
    let next = log.read(first, &mut payload).unwrap();
    assert!(matches!(next, Next::Record(record) if record.first == 1 && record.tag == "t"));
    assert_eq!(payload, large.as_bytes());
    let segments = disk.with(|disk| disk.files());
    assert!(segments.contains(&format!("{:020}.seg", 1)), "{segments:?}");
    assert!(segments.contains(&format!("{:020}.seg", 2)), "{segments:?}");
    let too_long = "t".repeat(65_536);
    let refused = log.append(&too_long, 1, &[]);
    assert!(matches!(refused, Err(AppendError::TooLarge { .. })));
}

#[test]
fn a_full_disk_is_met_before_anything_is_taken_and_left_when_there_is_room() {
    let disk = SimulatedDisk::new(4);
    let (mut log, _) = open(&disk);
    append(&mut log, &[1; 3]);
    disk.with(|disk| disk.capacity = 33_000 + 512);
    let refused = loop {
        let text = text(log.end());
        match log.append("shop", 1, &[text.as_bytes()]) {
            Ok(_) => log.sync().unwrap(),
            Err(error) => break error,
        };
    };
    assert!(matches!(refused, AppendError::Full { .. }), "{refused:?}");
    let end = log.end();
    assert_eq!(log.sync().unwrap(), end);
    // The cursor has its room. What is finished is kept for replay no longer.
    log.persist(&Finished::below(end), false).unwrap();
    append(&mut log, &[1; 3]);
    disk.with(|disk| disk.cut_power());
    let (mut log, recovered) = open(&disk);
    assert_eq!((recovered.end, recovered.finished.prefix()), (end + 3, end));
    assert_eq!(read_from(&mut log, end).0, [end, end + 1, end + 2]);
}

#[test]
fn nothing_is_written_or_synced_after_a_failure() {
    for what in ["sync", "write"] {
        let disk = SimulatedDisk::new(5);
        let (mut log, _) = open(&disk);
        append(&mut log, &[1; 2]);
        disk.with(|disk| {
            disk.faults.fail_at = Some(disk.operations + if what == "write" { 1 } else { 2 });
            disk.faults.is_traced = true;
        });
        let appended = log.append("shop", 1, &[text(2).as_bytes()]).map(drop);
        let failure = appended.and_then(|()| Ok(log.sync().map(drop)?));
        assert!(matches!(failure, Err(AppendError::Sealed(_))), "{what}");
        let operations = disk.with(|disk| disk.operations);
        assert!(log.append("shop", 1, &[b"z"]).is_err() && log.sync().is_err());
        assert!(log.persist(&Finished::below(1), true).is_err());
        assert_eq!(disk.with(|disk| disk.operations), operations);
        assert_eq!(read_from(&mut log, 0).0, [0, 1]);
    }
}

/// The kernel takes pages for clean after a sync of them failed, so the next process finds records that a power cut takes.
#[test]
fn what_a_failed_sync_left_in_the_cache_is_on_the_disk_before_it_counts() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = open(&disk);
        append(&mut log, &[1; 2]);
        disk.with(|disk| disk.faults.fail_at = Some(disk.operations + 2));
        log.append("shop", 1, &[text(2).as_bytes()]).unwrap();
        assert!(log.sync().is_err());
        disk.with(|disk| disk.kill());
        let (log, recovered) = open(&disk);
        assert_eq!(recovered.end, 3);
        drop(log);
        disk.with(|disk| disk.cut_power());
        let (mut log, recovered) = open(&disk);
        assert_eq!((recovered.end, recovered.damaged.len()), (3, 0));
        assert_eq!(read_from(&mut log, 0).0, [0, 1, 2]);
    }
}

/// It is written again in several pieces.
#[test]
fn so_it_is_with_all_of_a_large_record() {
    for seed in 0..4 {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = open(&disk);
        let large = "0123456789".repeat(250_000);
        log.append("shop", 1, &[large.as_bytes()]).unwrap();
        disk.with(|disk| disk.faults.fail_at = Some(disk.operations + 1));
        assert!(log.sync().is_err());
        drop(log);
        disk.with(|disk| disk.kill());
        drop(open(&disk));
        disk.with(|disk| disk.cut_power());
        let (mut log, _) = open(&disk);
        let mut payload = Vec::new();
        let next = log.read(0, &mut payload).unwrap();
        assert!(matches!(next, Next::Record(_)) && payload == large.as_bytes());
    }
}

/// The next process goes over the slot that is on the disk, and the power may go before that is synced: so the one that it
/// finds must be there, too.
#[test]
fn so_it_is_with_the_cursor_whenever_the_next_start_ends() {
    // Of more than one sector, so that it can be torn.
    let finished = |prefix| {
        let mut finished = Finished::below(prefix);
        (20 + prefix..30).for_each(|number| finished.insert(2 * number..2 * number + 1));
        finished
    };
    for (seed, operation) in (0..8).flat_map(|seed| (1..60).map(move |at| (seed, at))) {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = open(&disk);
        append(&mut log, &[70]);
        log.persist(&finished(3), true).unwrap();
        log.persist(&finished(5), true).unwrap();
        log.append("shop", 1, &[text(70).as_bytes()]).unwrap();
        disk.with(|disk| disk.faults.fail_at = Some(disk.operations + 2));
        assert!(log.persist(&finished(7), true).is_err());
        drop(log);
        disk.with(|disk| {
            disk.kill();
            disk.faults.crash_at = Some(disk.operations + operation);
        });
        drop(try_open(&disk));
        disk.with(|disk| disk.cut_power());
        let (_, recovered) = open(&disk);
        let prefix = recovered.finished.prefix();
        let is_kept = prefix >= 5 && !recovered.is_cursor_lost;
        assert!(is_kept, "seed {seed}, operation {operation}: {prefix}");
    }
}

#[test]
fn the_cursor_comes_back_after_a_kill_and_at_least_the_synced_one_after_a_power_cut() {
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = open(&disk);
        append(&mut log, &[1; 9]);
        let mut finished = Finished::below(2);
        finished.insert(4..5);
        log.persist(&finished, true).unwrap();
        for number in [2, 7, 8] {
            finished.insert(number..number + 1);
            log.persist(&finished, false).unwrap();
        }
        match seed % 2 {
            0 => disk.with(|disk| disk.kill()),
            _ => disk.with(|disk| disk.cut_power()),
        }
        let (_, recovered) = open(&disk);
        let prefix = recovered.finished.prefix();
        assert!(!recovered.is_cursor_lost);
        assert!(recovered.finished.contains(4), "seed {seed}");
        assert!(prefix == 3 || seed % 2 == 1 && prefix == 2, "seed {seed}");
    }
}

#[test]
fn segments_go_when_they_are_finished_and_the_cursor_that_says_so_is_synced() {
    let disk = SimulatedDisk::new(7);
    let (mut log, _) = open(&disk);
    append(&mut log, &[1; 30]);
    let segments = |disk: &SimulatedDisk| {
        let files = disk.with(|disk| disk.files());
        files.iter().filter(|name| name.ends_with(".seg")).count()
    };
    let before = segments(&disk);
    assert!(before > 3);
    let mut finished = Finished::below(0);
    finished.insert(1..30);
    log.persist(&finished, true).unwrap();
    assert_eq!((segments(&disk), log.finished_prefix()), (before, 0));
    disk.with(|disk| disk.faults.is_traced = true);
    finished.insert(0..1);
    log.persist(&finished, false).unwrap();
    assert_eq!(log.finished_prefix(), 30);
    assert_eq!((segments(&disk), log.oldest() > 20), (1, true));
    let trace = disk.with(|disk| disk.trace.clone());
    assert!(trace[0].starts_with("write "), "{trace:?}");
    assert!(trace[1].starts_with("sync "), "{trace:?}");
    assert!(trace[2].starts_with("remove 00000000000000000000.seg"));
    assert_eq!(trace.last().unwrap(), "sync_directory");
    let bytes = log.bytes();
    assert!((512..1_024).contains(&bytes), "{bytes}");
}

#[test]
fn finished_segments_stay_for_replay_within_size_and_age() {
    let disk = SimulatedDisk::new(8);
    let clock = SimulatedClock::default();
    let options = Options {
        retain_bytes: 2_000,
        retain_age: Duration::from_secs(10),
        ..OPTIONS
    };
    let (mut log, _): (SimulatedLog, _) = Log::open(disk.clone(), clock.clone(), options).unwrap();
    append(&mut log, &[1; 60]);
    log.persist(&Finished::below(60), false).unwrap();
    let oldest = log.oldest();
    assert!(oldest > 0 && oldest < 50, "{oldest}");
    assert!(log.bytes() <= 2_512);
    assert_eq!(read_from(&mut log, oldest).0[0], oldest);
    assert_eq!(read_from(&mut log, 0).1.prefix(), oldest);
    clock.advance(10_001);
    log.persist(&Finished::below(60), false).unwrap();
    assert!(log.oldest() > oldest);
    assert!(log.bytes() <= 512);
}

#[test]
fn a_segment_that_has_lost_its_time_is_as_new_as_the_one_before_it() {
    let disk = SimulatedDisk::new(11);
    let clock = SimulatedClock::default();
    clock.advance(100_000);
    let options = Options {
        retain_bytes: u64::MAX,
        retain_age: Duration::from_secs(10),
        ..OPTIONS
    };
    let open = || Log::open(disk.clone(), clock.clone(), options).unwrap().0;
    append(&mut open(), &[1; 20]);
    let second = disk.with(|disk| disk.files()).remove(1);
    disk.with(|disk| disk.edit(&second, |bytes| bytes[..32].fill(0xAA)));
    let mut log = open();
    clock.advance(10_000);
    log.persist(&Finished::below(20), true).unwrap();
    assert_eq!(log.oldest(), 0);
    clock.advance(1);
    log.persist(&Finished::below(20), true).unwrap();
    assert!(log.oldest() > 0);
}

#[test]
fn a_full_segment_keeps_no_room_that_it_does_not_need() {
    let disk = SimulatedDisk::new(13);
    let (mut log, _) = open(&disk);
    append(&mut log, &[1; 40]);
    assert_eq!(disk.with(|disk| disk.used()), log.bytes() + 32 * 1024);
}

#[test]
fn a_cursor_that_need_not_survive_a_power_cut_is_not_synced() {
    let disk = SimulatedDisk::new(14);
    let (mut log, _) = open(&disk);
    append(&mut log, &[1; 2]);
    let before = disk.with(|disk| disk.operations);
    log.persist(&Finished::below(1), false).unwrap();
    // The write only.
    assert_eq!(disk.with(|disk| disk.operations), before + 1);
}

#[test]
fn the_cursor_has_the_room_of_both_slots_from_the_start() {
    let disk = SimulatedDisk::new(12);
    drop(open(&disk));
    let bytes = disk.with(|disk| disk.edit("cursor", |bytes| bytes.len()));
    assert_eq!(bytes, 32 * 1024);
}

#[test]
fn numbers_are_never_given_twice_even_if_every_segment_is_gone() {
    let disk = SimulatedDisk::new(9);
    let (mut log, _) = open(&disk);
    append(&mut log, &[1; 5]);
    log.persist(&Finished::below(3), true).unwrap();
    drop(log);
    disk.with(|disk| disk.remove_all(".seg"));
    let (mut log, recovered) = open(&disk);
    assert_eq!((recovered.end, recovered.finished.prefix()), (5, 5));
    append(&mut log, &[1]);
    assert_eq!(read_from(&mut log, 5).0, [5]);
}

#[test]
fn a_newer_format_is_refused_with_its_name() {
    let disk = SimulatedDisk::new(10);
    append(&mut open(&disk).0, &[1]);
    let name = format!("{:020}.seg", 0);
    disk.with(|disk| {
        disk.edit(&name, |bytes| {
            bytes[12] = 9;
            let crc = crc32c::crc32c(&bytes[12..32]);
            bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        });
    });
    let refusal = try_open(&disk).unwrap_err().to_string();
    assert!(
        refusal.contains(&name) && refusal.contains("version 9"),
        "{refusal}"
    );
}

#[test]
fn a_log_lives_in_a_real_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let options = Options {
        segment_bytes: 64 * 1024,
        retain_bytes: 0,
        ..OPTIONS
    };
    let open = || Log::open(DiskStorage::create(&path).unwrap(), SystemClock, options).unwrap();
    let (mut log, _) = open();
    let line = b"{\"id\":\"1\"}\n".as_slice();
    for _ in 0..40 {
        log.append("shop", 1_024, &vec![line; 1_024]).unwrap();
    }
    assert_eq!(log.sync().unwrap(), 40 * 1_024);
    log.persist(&Finished::below(20 * 1_024), false).unwrap();
    drop(log);
    let (mut log, recovered) = open();
    assert_eq!((recovered.end, recovered.torn_bytes), (40 * 1_024, 0));
    assert_eq!(recovered.finished.prefix(), 20 * 1_024);
    let (mut from, mut payload) = (20 * 1_024, Vec::new());
    while let Next::Record(record) = log.read(from, &mut payload).unwrap() {
        assert_eq!(payload, line.repeat(1_024));
        assert!(record.time_ms > 1_600_000_000_000);
        from = record.sequences().end;
    }
    assert_eq!(from, 40 * 1_024);
}

/// Writes of segments while so many records of `bytes` are appended, each synced.
fn writes(records: u64, bytes: usize) -> usize {
    let disk = SimulatedDisk::new(19);
    let options = Options {
        segment_bytes: 1 << 20,
        ..OPTIONS
    };
    let (mut log, _) = Log::open(disk.clone(), SimulatedClock::default(), options).unwrap();
    disk.with(|disk| disk.faults.is_traced = true);
    let payload = vec![b'x'; bytes];
    for _ in 0..records {
        log.append("shop", 1, &[&payload]).unwrap();
        log.sync().unwrap();
    }
    let is_write = |called: &&String| called.starts_with("write");
    disk.with(|disk| disk.trace.iter().filter(is_write).count())
}

#[test]
fn small_groups_lie_on_zeros_that_are_written_for_many_of_them_at_once() {
    // The head of the segment, and each record.
    assert_eq!(writes(10, 100_000), 1 + 10);
    // And zeros: in front of the first, and once these are used up (64 records and what fills a block).
    assert_eq!(writes(64, 1_000), 1 + 64 + 1);
    assert_eq!(writes(80, 1_000), 1 + 80 + 2);
    // To the end of the segment at most.
    assert_eq!(writes(40, 16_300), 1 + 40 + 1);
}

#[test]
fn zeros_that_find_no_room_are_left_out_and_those_that_fail_seal_the_log() {
    let disk = SimulatedDisk::new(20);
    let (mut log, _) = open(&disk);
    log.append("shop", 1, &[b"x"]).unwrap();
    disk.with(|disk| disk.faults.no_room = true);
    assert_eq!(log.sync().unwrap(), 1);
    drop(log);
    disk.with(|disk| {
        disk.faults.no_room = false;
        disk.cut_power();
    });
    let (mut log, recovered) = open(&disk);
    assert_eq!((recovered.end, recovered.torn_bytes), (1, 0));
    log.append("shop", 1, &[b"x"]).unwrap();
    disk.with(|disk| disk.faults.fail_at = Some(disk.operations + 1));
    let sealed = log.sync().unwrap_err();
    assert!(
        sealed.reason.starts_with("cannot write zeros"),
        "{sealed:?}"
    );
}

/// Where a file system copies on write, room that is reserved may not be enough.
#[test]
fn a_cursor_that_finds_no_room_leaves_the_synced_one_and_is_written_once_there_is() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = open(&disk);
        append(&mut log, &[1; 40]);
        assert!(log.persist(&Finished::below(2), true).unwrap());
        assert!(log.persist(&Finished::below(30), false).unwrap());
        let oldest = log.oldest();
        disk.with(|disk| disk.faults.no_room = true);
        assert!(!log.persist(&Finished::below(40), true).unwrap());
        // What it was to say is torn now, and nothing goes on its word.
        let refused = log.append("shop", 1, &[&[b'x'; 600]]);
        assert!(matches!(refused, Err(AppendError::Full { .. })));
        assert_eq!(log.oldest(), oldest);
        disk.with(|disk| disk.faults.no_room = false);
        let is_written = seed % 2 == 1 && log.persist(&Finished::below(40), true).unwrap();
        drop(log);
        disk.with(|disk| disk.cut_power());
        let (_, recovered) = open(&disk);
        let prefix = recovered.finished.prefix();
        match seed % 2 {
            // What was not synced may be on the disk, or all of the write that failed.
            0 => assert!([2, 30, 40].contains(&prefix), "{prefix}"),
            _ => assert_eq!((is_written, prefix), (true, 40)),
        }
        assert!(recovered.damaged.is_empty() && !recovered.is_cursor_lost);
    }
}
