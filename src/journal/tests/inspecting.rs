//! What is told of a log that nobody has open.

use std::ops::{ControlFlow, Range};
use std::time::Duration;

use veltrix_actors::Finished;

use super::simulated::{SimulatedClock, SimulatedDisk};
use super::{OPTIONS, SimulatedLog};
use crate::journal::inspection::Backlog;
use crate::journal::{Finding, Found, Inspection, Log, Options};

/// A log of six records of two events, one a second, in two segments; the last one in the first of them is the fourth.
fn written(disk: &SimulatedDisk) -> SimulatedLog {
    let clock = SimulatedClock::default();
    let options = Options {
        retain_bytes: u64::MAX,
        retain_age: Duration::MAX,
        ..OPTIONS
    };
    let (mut log, _) = Log::open(disk.clone(), clock.clone(), options).unwrap();
    for number in 0..6 {
        clock.advance(1_000);
        append(&mut log, number);
    }
    log
}

/// Appends the record of this number and syncs it.
fn append(log: &mut SimulatedLog, number: u64) {
    let (tag, body) = (tag(number), body(number));
    assert_eq!(log.append(tag, 2, &[body.as_bytes()]).unwrap(), 2 * number);
    log.sync().unwrap();
}

fn tag(number: u64) -> &'static str {
    match number.is_multiple_of(2) {
        true => "even",
        false => "odd",
    }
}

/// Its record is a hundred bytes long.
fn body(number: u64) -> String {
    "b".repeat(100 - 48 - tag(number).len())
}

fn segment(first: u64) -> String {
    format!("{first:020}.seg")
}

fn inspect(disk: &SimulatedDisk) -> Inspection<SimulatedDisk> {
    Inspection::open(disk.clone()).unwrap()
}

fn findings(disk: &SimulatedDisk) -> Vec<Finding> {
    inspect(disk).verify().unwrap().findings
}

fn damaged(segment: String, bytes: Range<u64>, events: Range<u64>) -> Finding {
    Finding {
        segment,
        bytes,
        events,
        is_torn: false,
    }
}

/// Changes a byte of a segment.
fn spoil(disk: &SimulatedDisk, name: &str, offset: usize) {
    disk.with(|disk| disk.edit(name, |bytes| bytes[offset] ^= 1));
}

#[test]
fn what_is_whole_is_listed_and_counted() {
    let disk = SimulatedDisk::new(1);
    written(&disk);
    let mut inspection = inspect(&disk);
    let segments: Vec<_> = inspection
        .segments()
        .unwrap()
        .into_iter()
        .map(|one| (one.name, one.first, one.end, one.bytes, one.created_ms))
        .collect();
    let expected = [
        (segment(0), 0, 8, 432, 1_000),
        (segment(8), 8, 12, 512, 5_000),
    ];
    assert_eq!(segments, expected);
    let verified = inspection.verify().unwrap();
    assert_eq!((verified.records, verified.events), (6, 12));
    assert!(verified.findings.is_empty() && !verified.is_damaged());
    let stats = inspection.stats().unwrap();
    assert_eq!((stats.segments, stats.bytes), (2, 432 + 512));
    assert_eq!((stats.records, stats.events), (6, 12));
    assert_eq!(stats.sequences, 0..12);
    assert_eq!(stats.times_ms, Some((1_000, 6_000)));
    assert_eq!((stats.finished_prefix, stats.is_cursor_lost), (0, false));
    let backlog = |events, bytes| Backlog { events, bytes };
    assert_eq!(stats.backlog["even"], backlog(6, 300));
    assert_eq!(stats.backlog["odd"], backlog(6, 300));
}

#[test]
fn what_is_finished_does_not_wait_and_its_body_is_not_read() {
    let disk = SimulatedDisk::new(2);
    let mut finished = Finished::below(5);
    finished.insert(8..10);
    written(&disk).persist(&finished, true).unwrap();
    // The body of the first record.
    spoil(&disk, &segment(0), 32 + 90);
    let stats = inspect(&disk).stats().unwrap();
    assert_eq!((stats.records, stats.finished_prefix), (6, 5));
    let waiting: Vec<_> = stats.backlog.into_iter().collect();
    let backlog = |events, bytes| Backlog { events, bytes };
    let expected = [("even", backlog(1, 100)), ("odd", backlog(4, 200))];
    assert_eq!(
        waiting,
        expected.map(|(tag, waits)| (tag.to_owned(), waits))
    );
}

#[test]
fn a_walk_begins_with_the_record_that_has_the_number_and_ends_when_it_is_told() {
    let disk = SimulatedDisk::new(3);
    written(&disk);
    // Of the second record and the fifth.
    spoil(&disk, &segment(0), 32 + 190);
    spoil(&disk, &segment(8), 32 + 90);
    let walked = |from, bodies_from, count: usize| {
        let mut walked = Vec::new();
        let visit = |found| {
            walked.push(match found {
                Found::Record { record, .. } => (record.first, record.tag),
                Found::Void => (0, "void".to_owned()),
                Found::Gap(finding) => (finding.events.start, "gap".to_owned()),
            });
            match walked.len() == count {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        inspect(&disk).walk(from, bodies_from, visit).unwrap();
        walked
    };
    let expected = |all: &[(u64, &str)]| -> Vec<(u64, String)> {
        all.iter()
            .map(|(first, tag)| (*first, (*tag).to_owned()))
            .collect()
    };
    let all = [
        (0, "even"),
        (2, "gap"),
        (4, "even"),
        (6, "odd"),
        (8, "gap"),
        (10, "odd"),
    ];
    assert_eq!(walked(0, 0, 9), expected(&all));
    for (from, skipped) in [
        (1, 0),
        (2, 1),
        (3, 1),
        (4, 2),
        (7, 3),
        (8, 4),
        (9, 4),
        (10, 5),
    ] {
        assert_eq!(walked(from, 0, 9), expected(&all[skipped..]), "from {from}");
    }
    for count in 1..6 {
        assert_eq!(walked(0, 0, count), expected(&all[..count]));
    }
    // Of those below the eighth only the header is looked at, and it tells no tag.
    let headers = [
        (0, ""),
        (2, ""),
        (4, ""),
        (6, "odd"),
        (8, "gap"),
        (10, "odd"),
    ];
    assert_eq!(walked(0, 7, 9), expected(&headers));
    assert_eq!(walked(0, 6, 9), expected(&headers));
}

#[test]
fn each_place_that_is_damaged_is_told_with_the_events_that_are_missing() {
    let disk = SimulatedDisk::new(4);
    written(&disk);
    spoil(&disk, &segment(0), 32 + 90);
    spoil(&disk, &segment(8), 0);
    let expected = [
        damaged(segment(8), 0..32, 8..8),
        damaged(segment(0), 32..132, 0..2),
    ];
    assert_eq!(findings(&disk), expected);
    assert!(inspect(&disk).verify().unwrap().is_damaged());
    assert_eq!(inspect(&disk).verify().unwrap().records, 5);
    // The end of a segment that is not the last one.
    let disk = SimulatedDisk::new(5);
    written(&disk);
    spoil(&disk, &segment(0), 332 + 90);
    let is_missing = damaged(segment(0), 332..432, 6..8);
    let [found] = findings(&disk).try_into().unwrap();
    assert_eq!((found.events, found.is_torn), (is_missing.events, false));
    assert_eq!(found.bytes.start, 332);
    // Bytes too many, with which no event is missing.
    let disk = SimulatedDisk::new(13);
    written(&disk);
    disk.with(|disk| {
        disk.edit(&segment(0), |bytes| {
            bytes.splice(32..32, [0xAA; 20]);
        })
    });
    assert_eq!(findings(&disk), [damaged(segment(0), 32..52, 0..0)]);
}

#[test]
fn only_records_of_the_last_segment_can_be_torn() {
    let disk = SimulatedDisk::new(14);
    written(&disk);
    // Nothing that is whole says that the fourth was synced, but that another segment follows.
    spoil(&disk, &segment(8), 0);
    spoil(&disk, &segment(0), 332 + 8);
    spoil(&disk, &segment(8), 32 + 8);
    spoil(&disk, &segment(8), 132 + 8);
    let [header, fourth, rest] = findings(&disk).try_into().unwrap();
    assert_eq!(header, damaged(segment(8), 0..32, 8..8));
    assert!(!fourth.is_torn && fourth.events == (6..8), "{fourth:?}");
    assert!(rest.is_torn && rest.segment == segment(8), "{rest:?}");
    // Between two that are whole, if neither was synced.
    let disk = SimulatedDisk::new(15);
    let mut log = written(&disk);
    for number in [6, 7] {
        let body = body(number);
        log.append(tag(number), 2, &[body.as_bytes()]).unwrap();
    }
    drop(log);
    spoil(&disk, &segment(8), 232 + 8);
    let torn = Finding {
        is_torn: true,
        ..damaged(segment(8), 232..332, 12..14)
    };
    assert_eq!(findings(&disk), [torn]);
    assert!(!inspect(&disk).verify().unwrap().is_damaged());
}

#[test]
fn segments_that_are_gone_are_told_unless_they_were_finished() {
    let disk = SimulatedDisk::new(6);
    written(&disk);
    disk.with(|disk| disk.remove_all(&segment(0)));
    assert_eq!(findings(&disk), [damaged(segment(8), 0..0, 0..8)]);
    let disk = SimulatedDisk::new(7);
    written(&disk).persist(&Finished::below(8), true).unwrap();
    disk.with(|disk| disk.remove_all(&segment(0)));
    assert_eq!(findings(&disk), []);
}

#[test]
fn what_is_torn_at_the_end_is_no_damage_unless_it_had_been_acknowledged() {
    let disk = SimulatedDisk::new(8);
    written(&disk);
    // No later record says that the sixth one was synced.
    spoil(&disk, &segment(8), 132 + 8);
    let [found] = findings(&disk).try_into().unwrap();
    assert!(found.is_torn && found.events == (10..10), "{found:?}");
    assert!(!inspect(&disk).verify().unwrap().is_damaged());
    // The fifth was.
    let disk = SimulatedDisk::new(9);
    written(&disk);
    spoil(&disk, &segment(8), 32 + 8);
    assert_eq!(findings(&disk), [damaged(segment(8), 32..132, 8..10)]);
    // So was the sixth, as the cursor has it.
    let disk = SimulatedDisk::new(10);
    written(&disk).persist(&Finished::below(1), true).unwrap();
    spoil(&disk, &segment(8), 132 + 8);
    let [found] = findings(&disk).try_into().unwrap();
    assert!(!found.is_torn && found.events == (10..12), "{found:?}");
}

#[test]
fn a_cursor_that_is_lost_is_damage() {
    let disk = SimulatedDisk::new(11);
    written(&disk).persist(&Finished::below(9), true).unwrap();
    assert_eq!(inspect(&disk).stats().unwrap().finished_prefix, 9);
    disk.with(|disk| disk.remove_all("cursor"));
    let verified = inspect(&disk).verify().unwrap();
    assert!(verified.is_cursor_lost && verified.is_damaged());
    assert!(verified.findings.is_empty());
    let stats = inspect(&disk).stats().unwrap();
    assert_eq!((stats.finished_prefix, stats.is_cursor_lost), (0, true));
    // A log that nobody has begun has none to lose.
    let verified = inspect(&SimulatedDisk::new(12)).verify().unwrap();
    assert!(!verified.is_damaged());
}
