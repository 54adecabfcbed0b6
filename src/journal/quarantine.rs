//! Side files for damaged bytes, so that nothing that could not be read is thrown away unseen.

use std::io::{self, IoSlice};
use std::ops::Range;

use super::storage::{Storage, read_full, write_full};

/// Bytes of one damaged region that are kept.
pub const QUARANTINE_COPY_BYTES_MAX: u64 = 1 << 20;
/// Bytes of all side files of a log.
pub const QUARANTINE_BYTES_MAX: u64 = 64 << 20;

/// Side files of a log.
pub const QUARANTINE_FILES_MAX: usize = 1_000;

/// The folder within the log's directory.
const FOLDER: &str = "quarantine";

/// Copies damaged bytes of the segment named `segment` into a file of their own, within the limits and unless it is there.
/// To fail is no reason to stop: the copy is for people.
pub(super) fn keep<S: Storage>(storage: &mut S, segment: &str, file: &S::File, bytes: Range<u64>) {
    match copy(storage, segment, file, bytes.clone()) {
        Ok(true) => {}
        Ok(false) => tracing::warn!(
            segment,
            offset = bytes.start,
            "damaged bytes are not copied: the quarantine is full"
        ),
        Err(error) => tracing::warn!(
            segment,
            offset = bytes.start,
            %error,
            "damaged bytes cannot be copied to the quarantine"
        ),
    }
}

fn copy<S: Storage>(
    storage: &mut S,
    segment: &str,
    file: &S::File,
    bytes: Range<u64>,
) -> io::Result<bool> {
    let stem = segment.trim_end_matches(".seg");
    let name = format!("{stem}-{}.bad", bytes.start);
    let kept = storage.list(Some(FOLDER))?;
    if bytes.is_empty() || kept.iter().any(|(other, _)| *other == name) {
        return Ok(true);
    }
    let length = (bytes.end - bytes.start).min(QUARANTINE_COPY_BYTES_MAX);
    let total: u64 = kept.iter().map(|(_, length)| length).sum();
    if total + length > QUARANTINE_BYTES_MAX || kept.len() >= QUARANTINE_FILES_MAX {
        return Ok(false);
    }
    let mut copied = vec![0; length as usize];
    let filled = read_full(storage, file, bytes.start, &mut copied)?;
    storage.create_folder(FOLDER)?;
    let side = storage.create(&format!("{FOLDER}/{name}"))?;
    write_full(storage, &side, 0, &mut [IoSlice::new(&copied[..filled])])?;
    // What it is a copy of may be removed next.
    storage.sync(&side)?;
    Ok(true)
}
