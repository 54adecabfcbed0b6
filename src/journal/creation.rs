//! Creates the file of a segment, with all the room that it will need.

use std::io::{self, IoSlice};

use super::segment::{Segment, encode_header};
use super::storage::{Storage, is_full, write_full};

/// Why there is no new segment.
pub(super) enum CreateError {
    /// No room; nothing is left of it.
    Full(io::Error),
    /// What is left of it is unknown.
    Failed(io::Error),
}

impl CreateError {
    fn of(error: io::Error) -> Self {
        match is_full(&error) {
            true => Self::Full(error),
            false => Self::Failed(error),
        }
    }
}

/// Creates the segment's file. If there is no room for it, its name is gone again for good: one that came back after a
/// power cut would say that everything before it is on the disk.
pub(super) fn create<S: Storage>(
    storage: &mut S,
    segment: &Segment,
    capacity: u64,
) -> Result<S::File, CreateError> {
    let name = segment.name();
    let file = storage.create(&name).map_err(CreateError::of)?;
    let header = encode_header(segment.first, segment.created_ms);
    let prepared = storage
        .allocate(&file, capacity)
        .and_then(|()| write_full(storage, &file, 0, &mut [IoSlice::new(&header)]));
    if let Err(error) = prepared {
        if planted!(FailedNameLeft) {
            return Err(CreateError::of(error));
        }
        storage.remove(&name).map_err(CreateError::Failed)?;
        storage.sync_directory().map_err(CreateError::Failed)?;
        return Err(CreateError::of(error));
    }
    if !planted!(NameNotSynced) {
        storage.sync_directory().map_err(CreateError::Failed)?;
    }
    Ok(file)
}
