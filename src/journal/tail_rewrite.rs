//! Makes the end of the last segment last.

use std::io::{self, IoSlice};
use std::ops::Range;

use super::record::{HEADER_BYTES, RecordHeader};
use super::segment::{Segment, encode_header};
use super::storage::{Storage, read_full, write_full};
use super::tail::{Gap, Tail};

/// Bytes written at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// Cuts the segment behind its last whole record and brings it to the disk; its length in bytes then.
///
/// The records that are not known synced are written once more, and the header with the first of them. After a failed sync the kernel takes pages for clean that
/// never reached the disk: they can be read, until the power goes, and a sync of them does nothing. What is `torn` between
/// them becomes void, so that nobody takes it for damage later.
pub(super) fn settle<S: Storage>(
    storage: &mut S,
    file: &S::File,
    segment: &Segment,
    tail: &Tail,
    torn: &[Gap],
    durable: u64,
) -> io::Result<u64> {
    let first_unsure = tail.records.partition_point(|record| record.end <= durable);
    let unsure = &tail.records[first_unsure..];
    if first_unsure == 0 {
        let header = encode_header(segment.first, segment.created_ms);
        write_full(storage, file, 0, &mut [IoSlice::new(&header)])?;
    }
    for gap in torn.iter().filter(|_| !planted!(VoidNotWritten)) {
        write_void(storage, file, gap, durable)?;
    }
    for record in unsure.iter().filter(|_| !planted!(TailNotWrittenAgain)) {
        write_again(storage, file, record.bytes.clone())?;
    }
    // Also if it has that length: a process that was killed may have cut it, and not have synced that.
    if !planted!(TailNotCut) {
        storage.truncate(file, tail.valid_bytes)?;
    }
    storage.sync(file)?;
    Ok(tail.valid_bytes)
}

/// A gap begins with what was a record, so there is room for a header.
fn write_void<S: Storage>(
    storage: &mut S,
    file: &S::File,
    gap: &Gap,
    durable: u64,
) -> io::Result<()> {
    let room = gap.bytes.end - gap.bytes.start;
    let fields = (
        u32::try_from(gap.events.end - gap.events.start),
        u32::try_from(room.saturating_sub(HEADER_BYTES as u64)),
    );
    let (Ok(events), Ok(payload_bytes)) = fields else {
        return Ok(());
    };
    let header = RecordHeader {
        first: gap.events.start,
        events,
        time_ms: 0,
        durable,
        tag_bytes: 0,
        payload_bytes,
        body_crc: 0,
        is_void: true,
    };
    if header.bytes() != room {
        return Ok(());
    }
    let bytes = header.encode();
    write_full(storage, file, gap.bytes.start, &mut [IoSlice::new(&bytes)])
}

fn write_again<S: Storage>(storage: &mut S, file: &S::File, bytes: Range<u64>) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut offset = bytes.start;
    while offset < bytes.end {
        buffer.resize((bytes.end - offset).min(CHUNK_BYTES) as usize, 0);
        if read_full(storage, file, offset, &mut buffer)? < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        write_full(storage, file, offset, &mut [IoSlice::new(&buffer)])?;
        offset += buffer.len() as u64;
    }
    Ok(())
}
