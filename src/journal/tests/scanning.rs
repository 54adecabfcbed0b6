//! What a scanner takes for a record, and how it finds the next one behind what is none.

use std::ops::Range;

use super::simulated::SimulatedDisk;
use crate::journal::Storage;
use crate::journal::record::{MAGIC, RecordHeader};
use crate::journal::scanner::{Item, Scanner};

const SEGMENT_HEADER: usize = 32;

fn header(first: u64, payload_bytes: u32) -> RecordHeader {
    RecordHeader {
        first,
        events: 1,
        time_ms: 0,
        durable: 0,
        tag_bytes: 0,
        payload_bytes,
        body_crc: 0,
        is_void: false,
    }
}

/// All items of a segment of `length` bytes whose file has the header and `bytes`.
fn scan(bytes: &[u8], sequences: Range<u64>, length: u64) -> Vec<Item> {
    let mut disk = SimulatedDisk::new(1);
    let file = disk.create("a").unwrap();
    disk.with(|disk| disk.edit("a", |file| *file = [&[0; SEGMENT_HEADER], bytes].concat()));
    let mut scanner = Scanner::new(sequences, length);
    let mut items = Vec::new();
    while !matches!(items.last(), Some(Item::End { .. })) {
        items.push(scanner.next(&mut disk, &file));
    }
    items
}

/// As [`scan`], with all of the file.
fn scan_all(bytes: &[u8], sequences: Range<u64>) -> Vec<Item> {
    scan(bytes, sequences, (SEGMENT_HEADER + bytes.len()) as u64)
}

#[test]
fn a_record_that_cannot_be_here_is_none() {
    let is_record = |items: &[Item]| matches!(items[0], Item::Record { .. });
    let alone = header(5, 0).encode();
    assert!(is_record(&scan_all(&alone, 5..6)));
    // It is behind, or beyond those that may be here, or longer than the segment.
    assert!(!is_record(&scan_all(&alone, 6..9)));
    assert!(!is_record(&scan_all(&alone, 0..5)));
    let long = header(5, 1).encode();
    assert!(!is_record(&scan_all(&long, 5..6)));
    assert!(is_record(&scan(&long, 5..6, 32 + 48 + 1)));
}

#[test]
fn the_record_behind_damage_is_found_wherever_it_begins() {
    // Around the ends of what is read at once, too.
    for count in (1..9).chain(65_525..65_545) {
        for byte in [0, 0xAA, MAGIC[0]] {
            let bytes = [vec![byte; count], header(5, 0).encode().to_vec()].concat();
            let offset = (SEGMENT_HEADER + count) as u64;
            let end = offset + 48;
            let expected = [
                Item::Damage { bytes: 32..offset },
                Item::Record {
                    offset,
                    header: header(5, 0),
                },
                Item::End { bytes: end..end },
            ];
            assert_eq!(scan_all(&bytes, 5..6), expected, "{count} of {byte}");
        }
    }
}

#[test]
fn what_only_begins_like_a_record_is_damage_like_all_around_it() {
    let noise = [0xAA; 20].as_slice();
    let bytes = [noise, &MAGIC, noise, &MAGIC, noise, &[0; 9]].concat();
    let end = Item::End { bytes: 32..32 + 68 };
    assert_eq!(scan_all(&bytes, 0..9), [end]);
    let bytes = [noise, &MAGIC, noise, &header(5, 0).encode()].concat();
    let damage = Item::Damage { bytes: 32..32 + 44 };
    assert_eq!(scan_all(&bytes, 0..9)[0], damage);
}

#[test]
fn a_file_may_be_shorter_than_it_was() {
    for left in 0..9 {
        let end = 32 + left as u64;
        assert_eq!(
            scan(&vec![0xAA; left], 0..9, 1_000),
            [Item::End { bytes: 32..end }]
        );
    }
}

#[test]
fn a_sector_that_cannot_be_read_at_the_end_is_damage_and_no_more() {
    // From where on it is read, where the file ends and where it should, and the sector.
    let ends = [
        (4_096, 4_116, 4_116, 4_096),
        (4_090, 4_130, 4_130, 4_096),
        (4_090, 4_100, 5_000, 4_090),
    ];
    for (start, file_end, length, sector) in ends {
        let mut disk = SimulatedDisk::new(1);
        let file = disk.create("a").unwrap();
        disk.allocate(&file, file_end).unwrap();
        disk.with(|disk| disk.break_sector("a", sector));
        let mut scanner = Scanner::new(0..9, length);
        scanner.offset = start;
        let end = Item::End {
            bytes: start..start,
        };
        assert_eq!(scanner.next(&mut disk, &file), end);
        assert!(scanner.take_failure().is_some());
    }
}
