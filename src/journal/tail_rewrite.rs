//! Makes the end of the last segment last.

use std::io::{self, IoSlice};
use std::ops::Range;

use super::segment::Segment;
use super::storage::{Storage, read_full, write_full};
use super::tail::Tail;

/// Bytes written at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// Cuts the segment behind its last whole record and brings it to the disk; its length in bytes then.
///
/// The records that are not known synced are written once more. After a failed sync the kernel takes pages for clean that
/// never reached the disk: they can be read, until the power goes, and a sync of them does nothing.
pub(super) fn settle<S: Storage>(
    storage: &mut S,
    file: &S::File,
    segment: &Segment,
    tail: &Tail,
    durable: u64,
) -> io::Result<u64> {
    let first_unsure = tail.records.partition_point(|record| record.end <= durable);
    let unsure = &tail.records[first_unsure..];
    if unsure.is_empty() && segment.bytes == tail.valid_bytes {
        return Ok(tail.valid_bytes);
    }
    for record in unsure {
        write_again(storage, file, record.bytes.clone())?;
    }
    storage.truncate(file, tail.valid_bytes)?;
    storage.sync(file)?;
    Ok(tail.valid_bytes)
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
