//! Reads the last segment after a crash: what is whole in it, and what is torn or damaged.

use std::io;
use std::ops::Range;

use super::record::{HEADER_BYTES, RecordHeader, crc_of};
use super::scanner::{Item, Scanner};
use super::segment::{SEGMENT_HEADER_BYTES, Segment};
use super::storage::{Storage, read_full};

/// Bytes between whole records, and the sequences that are missing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) bytes: Range<u64>,
    pub(super) events: Range<u64>,
}

/// A record whose checksums are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// The sequence behind its last event.
    pub(super) end: u64,
    pub(super) bytes: Range<u64>,
}

/// What a segment's records tell.
#[derive(Debug)]
pub(super) struct Tail {
    /// The whole records, in order.
    pub(super) records: Vec<Whole>,
    /// In order; those with bytes behind the last whole record are not among them.
    pub(super) gaps: Vec<Gap>,
    /// The sequences that an earlier start gave up.
    pub(super) voids: Vec<Range<u64>>,
    /// Behind the last event of the last whole record; the segment's first sequence if there is none.
    pub(super) end: u64,
    /// Where the last whole record ends.
    pub(super) valid_bytes: u64,
    /// Where the last byte behind it lies that is not zero.
    pub(super) written_bytes: u64,
    /// The highest sequence below which a record says that all was synced.
    pub(super) durable: u64,
}

/// Checks every header and every body of `segment`.
///
/// # Errors
/// Something of it cannot be read, which says nothing of whether it is whole.
pub(super) fn read_tail<S: Storage>(
    storage: &mut S,
    file: &S::File,
    segment: &Segment,
    limit: u64,
) -> io::Result<Tail> {
    let mut scanner = Scanner::new(segment.first..limit, segment.bytes);
    let header_end = SEGMENT_HEADER_BYTES as u64;
    let mut tail = Tail {
        records: Vec::new(),
        gaps: Vec::new(),
        voids: Vec::new(),
        end: segment.first,
        valid_bytes: header_end,
        written_bytes: header_end,
        durable: 0,
    };
    let mut body = Vec::new();
    loop {
        let item = scanner.next(storage, file);
        if let Some(error) = scanner.take_failure() {
            return Err(error);
        }
        match item {
            Item::Record { offset, header } => {
                // The header is whole whatever the body is, so what it says of earlier records holds.
                tail.durable = tail.durable.max(header.durable);
                if read_body(storage, file, offset, &header, &mut body)? {
                    tail.add(offset, &header);
                }
            }
            Item::Void { offset, header } => {
                tail.pass(offset, &header);
                tail.voids.push(header.first..header.end());
            }
            Item::Damage { .. } => {}
            Item::End { bytes } => {
                tail.written_bytes = bytes.end.max(tail.valid_bytes);
                return Ok(tail);
            }
        }
    }
}

impl Tail {
    fn add(&mut self, offset: u64, header: &RecordHeader) {
        self.pass(offset, header);
        self.records.push(Whole {
            end: header.end(),
            bytes: offset..offset + header.bytes(),
        });
    }

    fn pass(&mut self, offset: u64, header: &RecordHeader) {
        if offset > self.valid_bytes || header.first > self.end {
            self.gaps.push(Gap {
                bytes: self.valid_bytes..offset,
                events: self.end..header.first,
            });
        }
        self.end = header.end();
        self.valid_bytes = offset + header.bytes();
    }
}

/// Reads tag and payload into `body`; whether they are undamaged.
pub(super) fn read_body<S: Storage>(
    storage: &mut S,
    file: &S::File,
    offset: u64,
    header: &RecordHeader,
    body: &mut Vec<u8>,
) -> io::Result<bool> {
    *body = vec![0; header.body_bytes() as usize];
    let filled = read_full(storage, file, offset + HEADER_BYTES as u64, body)?;
    let is_right = crc_of([body.as_slice()]) == header.body_crc;
    Ok(filled == body.len() && (is_right || planted!(BodyChecksumIgnored)))
}

/// As [`read_body`]; what cannot be read is as what is damaged.
pub(super) fn try_body<S: Storage>(
    storage: &mut S,
    file: &S::File,
    offset: u64,
    header: &RecordHeader,
    body: &mut Vec<u8>,
) -> bool {
    read_body(storage, file, offset, header, body).unwrap_or_else(|error| {
        tracing::error!(%error, offset, "a record of a segment cannot be read");
        false
    })
}
