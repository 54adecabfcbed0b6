//! What a log does with bytes that are not what it wrote.

use std::ops::Range;

use veltrix_actors::Finished;

use super::simulated::{SimulatedClock, SimulatedDisk};
use super::{SimulatedLog, append, open, read_from, text};
use crate::journal::{Log, Next, Options, QUARANTINE_BYTES_MAX, QUARANTINE_FILES_MAX, Storage};

/// A log of forty records of one event, over several segments, that nobody has open.
fn disk_with_forty(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    append(&mut open(&disk).0, &[1; 40]);
    disk
}

fn segments(disk: &SimulatedDisk) -> Vec<String> {
    let mut files = disk.with(|disk| disk.files());
    files.retain(|name| name.ends_with(".seg") && !name.contains('/'));
    files
}

fn quarantined(disk: &SimulatedDisk) -> usize {
    let files = disk.with(|disk| disk.files());
    files
        .iter()
        .filter(|name| name.starts_with("quarantine/"))
        .count()
}

/// Bytes of the record of `append` whose event is this one.
fn record_bytes(number: u64) -> usize {
    48 + "shop".len() + text(number).len()
}

fn numbers(count: u64, without: &[u64]) -> Vec<u64> {
    (0..count)
        .filter(|number| !without.contains(number))
        .collect()
}

/// A log of thirty records in one segment, each so many bytes long, and the segment's name.
fn log_of_large_records(disk: &SimulatedDisk, bytes: usize) -> (SimulatedLog, String) {
    let options = Options {
        segment_bytes: 1 << 20,
        ..super::OPTIONS
    };
    let (mut log, _) = Log::open(disk.clone(), SimulatedClock::default(), options).unwrap();
    let line = "z".repeat(bytes - 48 - 1);
    for _ in 0..30 {
        log.append("t", 1, &[line.as_bytes()]).unwrap();
    }
    log.sync().unwrap();
    (log, segments(disk).remove(0))
}

/// The sequences that are lost to who reads all of it.
fn lost_of(log: &mut SimulatedLog) -> Vec<Range<u64>> {
    let (mut from, mut lost, mut payload) = (0, Vec::new(), Vec::new());
    loop {
        from = match log.read(from, &mut payload).unwrap() {
            Next::Record(record) => record.sequences().end,
            Next::Lost(range) => {
                lost.push(range.clone());
                range.end
            }
            Next::End => break,
        };
    }
    assert_eq!(from, log.synced());
    lost
}

#[test]
fn a_damaged_payload_loses_its_record_and_no_other() {
    let disk = disk_with_forty(1);
    disk.with(|disk| disk.edit(&format!("{:020}.seg", 0), |bytes| bytes[32 + 48 + 6] ^= 1));
    let (mut log, _) = open(&disk);
    let (records, lost) = read_from(&mut log, 0);
    assert_eq!(records, numbers(40, &[0]));
    assert_eq!(lost.prefix(), 1);
    assert_eq!(quarantined(&disk), 1);
    let copy = format!("quarantine/{:020}-32.bad", 0);
    let copied = disk.with(|disk| disk.edit(&copy, |bytes| bytes.len()));
    assert_eq!(copied, record_bytes(0));
}

#[test]
fn damage_at_the_end_of_a_segment_is_copied_and_what_is_not_synced_behind_it_is_not() {
    let disk = SimulatedDisk::new(17);
    let (mut log, _) = open(&disk);
    append(&mut log, &[1; 2]);
    log.append("shop", 1, &[text(2).as_bytes()]).unwrap();
    let second = 32 + record_bytes(0);
    let name = segments(&disk).remove(0);
    disk.with(|disk| disk.edit(&name, |bytes| bytes[second + 20] ^= 0x80));
    assert_eq!(read_from(&mut log, 0).0, [0]);
    let copy = format!("quarantine/{:020}-{second}.bad", 0);
    let copied = disk.with(|disk| disk.edit(&copy, |bytes| bytes.len()));
    assert_eq!(copied, record_bytes(1));
}

#[test]
fn a_record_that_is_gone_without_a_trace_is_told() {
    let disk = SimulatedDisk::new(18);
    {
        let (mut log, _) = open(&disk);
        for _ in 0..3 {
            append(&mut log, &[1]);
        }
    }
    let name = segments(&disk).remove(0);
    let second = 32 + record_bytes(0);
    disk.with(|disk| {
        disk.edit(&name, |bytes| {
            bytes.drain(second..second + record_bytes(1));
        })
    });
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.damaged.len(), 1, "{recovered:?}");
    assert_eq!(recovered.damaged[0].events, 1..2);
    assert_eq!(read_from(&mut log, 0).0, [0, 2]);
    assert_eq!(quarantined(&disk), 0);
}

#[test]
fn copies_stay_of_all_damaged_places_within_the_limits() {
    let damaged = |files: usize, bytes: u64| {
        let mut disk = disk_with_forty(20);
        for name in segments(&disk).iter().take(2) {
            disk.with(|disk| disk.edit(name, |bytes| bytes[32 + 48 + 6] ^= 1));
        }
        for number in 0..files {
            let file = disk.create(&format!("quarantine/{number}")).unwrap();
            let is_first = number == 0;
            disk.allocate(&file, if is_first { bytes } else { 0 })
                .unwrap();
        }
        let (mut log, _) = open(&disk);
        assert_eq!(read_from(&mut log, 0).0.len(), 38);
        quarantined(&disk) - files
    };
    assert_eq!(damaged(0, 0), 2);
    assert_eq!(damaged(1, 1_000), 2);
    assert_eq!(damaged(QUARANTINE_FILES_MAX - 1, 0), 1);
    assert_eq!(damaged(QUARANTINE_FILES_MAX, 0), 0);
    // The first damaged record fits, and nothing beside it.
    let full = QUARANTINE_BYTES_MAX - record_bytes(0) as u64;
    assert_eq!(damaged(1, full), 1);
    assert_eq!(damaged(1, full + 1), 0);
}

#[test]
fn a_segment_that_goes_while_the_log_is_open_is_lost_and_one_that_cannot_be_opened_now_is_not() {
    let disk = disk_with_forty(19);
    let (mut log, _) = open(&disk);
    let names = segments(&disk);
    let first = |name: &str| name[..20].parse::<u64>().unwrap();
    let mut payload = Vec::new();
    disk.with(|disk| disk.faults.crash_at = Some(disk.operations + 1));
    let refusal = log.read(0, &mut payload).unwrap_err().to_string();
    assert!(refusal.contains(&names[0]), "{refusal}");
    disk.with(|disk| disk.faults.crash_at = None);
    disk.with(|disk| disk.remove_all(&names[1]));
    let gone = first(&names[1])..first(&names[2]);
    let (records, _) = read_from(&mut log, 0);
    assert_eq!(records, numbers(40, &gone.collect::<Vec<u64>>()));
}

#[test]
fn a_damaged_header_loses_its_record_and_no_other() {
    let disk = disk_with_forty(2);
    // The second record's header; the first one is known to be 48 + "shop" + its text long.
    let second = 32 + 48 + 4 + super::text(0).len();
    disk.with(|disk| {
        disk.edit(&format!("{:020}.seg", 0), |bytes| {
            bytes[second + 20] ^= 0x80
        })
    });
    let (mut log, _) = open(&disk);
    assert_eq!(read_from(&mut log, 0).0, numbers(40, &[1]));
    assert_eq!(quarantined(&disk), 1);
    // Once more, it is not copied again.
    assert_eq!(read_from(&mut log, 0).0, numbers(40, &[1]));
    assert_eq!(quarantined(&disk), 1);
}

#[test]
fn a_damaged_segment_header_loses_nothing() {
    let disk = disk_with_forty(3);
    for name in segments(&disk) {
        disk.with(|disk| disk.edit(&name, |bytes| bytes[..32].fill(0xAA)));
    }
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.end, 40);
    assert_eq!(read_from(&mut log, 0).0, numbers(40, &[]));
}

#[test]
fn a_segment_that_is_gone_is_lost_and_the_others_are_not() {
    let disk = disk_with_forty(4);
    let names = segments(&disk);
    let first = |name: &str| name[..20].parse::<u64>().unwrap();
    let gone: Vec<u64> = (first(&names[1])..first(&names[2])).collect();
    disk.with(|disk| disk.remove_all(&names[1]));
    let (mut log, _) = open(&disk);
    let (records, lost) = read_from(&mut log, 0);
    assert_eq!(records, numbers(40, &gone));
    assert_eq!(lost.end(), first(&names[2]));
}

#[test]
fn the_oldest_segments_gone_move_the_prefix_and_are_told() {
    let disk = disk_with_forty(5);
    let names = segments(&disk);
    let second: u64 = names[1][..20].parse().unwrap();
    disk.with(|disk| disk.remove_all(&names[0]));
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.damaged.len(), 1);
    assert_eq!(recovered.damaged[0].events, 0..second);
    assert_eq!(recovered.finished.prefix(), second);
    assert_eq!(read_from(&mut log, second).0[0], second);
    drop(log);
    // Told once.
    assert!(open(&disk).1.damaged.is_empty());
}

#[test]
fn damage_in_the_last_segment_is_told_at_the_start() {
    let disk = disk_with_forty(6);
    // So that later records say that the earlier ones were synced.
    let name = {
        let (mut log, _) = open(&disk);
        append(&mut log, &[1]);
        append(&mut log, &[1]);
        append(&mut log, &[1]);
        segments(&disk).last().unwrap().clone()
    };
    disk.with(|disk| disk.edit(&name, |bytes| bytes[32 + 60] ^= 4));
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.damaged.len(), 1, "{recovered:?}");
    assert_eq!(recovered.damaged[0].events, 40..41);
    assert!(recovered.finished.contains(40));
    assert_eq!(read_from(&mut log, 0).0, numbers(43, &[40]));
    assert_eq!(quarantined(&disk), 1);
}

#[test]
fn bytes_between_records_that_are_none_lose_nothing_and_are_told() {
    let disk = SimulatedDisk::new(14);
    {
        let (mut log, _) = open(&disk);
        for _ in 0..3 {
            append(&mut log, &[1]);
        }
    }
    let second = 32 + 48 + 4 + super::text(0).len();
    let name = segments(&disk).remove(0);
    disk.with(|disk| {
        disk.edit(&name, |bytes| {
            bytes.splice(second..second, [0xAA; 64]);
        })
    });
    let (mut log, recovered) = open(&disk);
    let bytes = second as u64..second as u64 + 64;
    assert_eq!(recovered.damaged.len(), 1, "{recovered:?}");
    assert_eq!(recovered.damaged[0].bytes, bytes);
    assert_eq!((quarantined(&disk), recovered.torn_bytes), (1, 0));
    assert_eq!(read_from(&mut log, 0).0, [0, 1, 2]);
}

#[test]
fn what_no_later_record_vouches_for_is_torn_and_cut() {
    let disk = SimulatedDisk::new(7);
    let (mut log, _) = open(&disk);
    append(&mut log, &[1; 2]);
    log.append("shop", 1, &[super::text(2).as_bytes()]).unwrap();
    log.append("shop", 1, &[super::text(3).as_bytes()]).unwrap();
    drop(log);
    let name = format!("{:020}.seg", 0);
    let length = |disk: &SimulatedDisk| {
        let mut length = 0;
        disk.with(|disk| disk.edit(&name, |bytes| length = bytes.len()));
        length
    };
    let third = 32 + 2 * (48 + 4) + super::text(0).len() + super::text(1).len();
    let fourth = third + 48 + 4 + super::text(2).len();
    // The third record is torn while the fourth one made it to the disk: it may stay.
    disk.with(|disk| disk.edit(&name, |bytes| bytes[third + 30..third + 50].fill(0)));
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.torn_bytes, (fourth - third) as u64);
    assert!(recovered.damaged.is_empty());
    assert_eq!(read_from(&mut log, 0).0, [0, 1, 3]);
    drop(log);
    assert_eq!(length(&disk), fourth + 48 + 4 + super::text(3).len());
    assert_eq!(quarantined(&disk), 0);
    // And here nothing whole follows. The cursor was synced at the start and knows that there was something.
    disk.with(|disk| disk.edit(&name, |bytes| bytes[fourth] ^= 1));
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.damaged[0].events, 3..4);
    assert_eq!((recovered.end, length(&disk)), (4, fourth));
    assert_eq!(read_from(&mut log, 0).0, [0, 1]);
}

#[test]
fn a_copy_stays_of_a_last_segment_without_a_whole_record() {
    let disk = SimulatedDisk::new(12);
    append(&mut open(&disk).0, &[1]);
    let name = segments(&disk).remove(0);
    let mut written = Vec::new();
    disk.with(|disk| {
        disk.edit(&name, |bytes| {
            bytes[40] ^= 1;
            written = bytes[32..].to_vec();
        })
    });
    // Nothing that was written later says that the record was acknowledged.
    let (_, recovered) = open(&disk);
    assert_eq!((recovered.end, recovered.segments), (0, 0));
    assert!(recovered.damaged.is_empty());
    let last = written.iter().rposition(|byte| *byte != 0).unwrap();
    assert_eq!(recovered.torn_bytes, last as u64 + 1);
    let copy = format!("quarantine/{:020}-32.bad", 0);
    disk.with(|disk| disk.edit(&copy, |bytes| assert_eq!(*bytes, written[..=last])));
}

#[test]
fn without_a_cursor_all_that_is_kept_comes_again() {
    let disk = disk_with_forty(8);
    {
        let (mut log, _) = open(&disk);
        log.persist(&Finished::below(30), true).unwrap();
    }
    let oldest = super::open(&disk).0.oldest();
    assert!(oldest > 0);
    for is_gone in [false, true] {
        disk.with(|disk| match is_gone {
            true => disk.remove_all("cursor"),
            false => disk.edit("cursor", |bytes| bytes.fill(7)),
        });
        let (mut log, recovered) = open(&disk);
        assert!(recovered.is_cursor_lost && recovered.damaged.is_empty());
        assert_eq!(recovered.finished, Finished::below(oldest));
        assert_eq!(read_from(&mut log, oldest).0.len() as u64, 40 - oldest);
        drop(log);
        assert!(!open(&disk).1.is_cursor_lost);
    }
}

#[test]
fn a_torn_slot_leaves_the_older_one() {
    for slot in [0, 1] {
        let disk = disk_with_forty(9);
        let (mut log, _) = open(&disk);
        log.persist(&Finished::below(10), true).unwrap();
        log.persist(&Finished::below(11), true).unwrap();
        drop(log);
        disk.with(|disk| disk.edit("cursor", |bytes| bytes[slot * 16 * 1024 + 33] ^= 1));
        let prefix = open(&disk).1.finished.prefix();
        assert!((10..=11).contains(&prefix), "{prefix}");
    }
}

#[test]
fn a_sector_that_cannot_be_read_hides_nothing_behind_it() {
    let disk = SimulatedDisk::new(10);
    let options = Options {
        segment_bytes: 30_000,
        ..super::OPTIONS
    };
    let open = || Log::open(disk.clone(), SimulatedClock::default(), options).unwrap();
    let line = "z".repeat(1_000 - 48 - 1);
    let (mut log, _) = open();
    for _ in 0..50 {
        log.append("t", 1, &[line.as_bytes()]).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    let names = segments(&disk);
    assert_eq!(names.len(), 2);
    let (mut log, recovered) = open();
    assert_eq!((recovered.end, recovered.damaged.len()), (50, 0));
    disk.with(|disk| {
        // In the eleventh record of one, in the header of the other.
        disk.break_sector(&names[0], 10_500);
        disk.break_sector(&names[1], 0);
    });
    // All headers within a block of 4 KiB around each.
    assert_eq!(lost_of(&mut log), vec![9..13, 29..34]);
}

#[test]
fn sectors_that_cannot_be_read_in_blocks_in_a_row_hide_nothing_behind_them() {
    let disk = SimulatedDisk::new(15);
    let (mut log, name) = log_of_large_records(&disk, 1_000);
    disk.with(|disk| {
        for offset in [10_500, 13_000, 17_000] {
            disk.break_sector(&name, offset);
        }
    });
    // All headers from the start of the first block to the end of the last one.
    let [lost] = lost_of(&mut log).try_into().unwrap();
    assert_eq!(lost, 9..21);
}

#[test]
fn a_header_across_two_blocks_is_read_though_a_sector_behind_them_is_not() {
    let disk = SimulatedDisk::new(16);
    // The second record begins 16 bytes before the end of a block.
    let (mut log, name) = log_of_large_records(&disk, 4_096 - 16 - 32);
    disk.with(|disk| disk.break_sector(&name, 13_000));
    let [lost] = lost_of(&mut log).try_into().unwrap();
    assert_eq!(lost, 3..4);
}

#[test]
fn what_cannot_be_read_at_a_start_refuses_it_and_is_no_damage() {
    let disk = disk_with_forty(12);
    let names = segments(&disk);
    let last = names.last().unwrap();
    // A header of a segment, a header and a body of a record, and a slot.
    let places = [
        (&names[0], 0),
        (last, 0),
        (last, 32 + 48),
        (last, 32 + 48 + 30),
        (&"cursor".to_owned(), 16 * 1024),
    ];
    for (name, offset) in places {
        disk.with(|disk| disk.break_sector(name, offset));
        let refusal = super::try_open(&disk).map(drop).unwrap_err().to_string();
        assert!(
            refusal.contains(&format!("read {name}: a bad sector")),
            "{refusal}"
        );
        disk.with(|disk| disk.mend_sectors(name));
        let (mut log, recovered) = open(&disk);
        assert!(recovered.damaged.is_empty() && !recovered.is_cursor_lost);
        assert_eq!((quarantined(&disk), recovered.torn_bytes), (0, 0));
        assert_eq!(read_from(&mut log, 0).0, numbers(40, &[]));
    }
}

#[test]
fn text_that_imitates_a_record_is_not_taken_for_one() {
    let disk = SimulatedDisk::new(11);
    let (mut log, _) = open(&disk);
    append(&mut log, &[1]);
    drop(log);
    // What a sender can write is UTF-8; the header of a record is not, so its bytes arrive as others.
    let mut forged = Vec::new();
    disk.with(|disk| {
        disk.edit(&format!("{:020}.seg", 0), |bytes| {
            forged = bytes[32..].to_vec()
        })
    });
    assert!(std::str::from_utf8(&forged).is_err());
    let forged = String::from_utf8_lossy(&forged).into_owned();
    let (mut log, _) = open(&disk);
    log.append("shop", 1, &[forged.as_bytes()]).unwrap();
    log.append("shop", 1, &[super::text(2).as_bytes()]).unwrap();
    log.sync().unwrap();
    drop(log);
    disk.with(|disk| disk.edit(&format!("{:020}.seg", 1), |bytes| bytes[32 + 9] ^= 1));
    let (mut log, _) = open(&disk);
    assert_eq!(read_from(&mut log, 0).0, [0, 2]);
}
