//! The segment that takes records, and the room in front of them.

use std::io::{self, IoSlice};

use super::storage::{BLOCK_BYTES, Storage, ZEROS, is_full, write_full};

/// Groups of more bytes than this find no zeros in front of them: to write these would cost more than they save.
const SMALL_GROUP_BYTES_MAX: u64 = 16 * 1024;
/// For how many groups of the size of the last one zeros are written at once.
const GROUPS_AHEAD: u64 = 64;

/// The segment at the end of the log.
#[derive(Debug)]
pub(super) struct Active<F> {
    pub(super) file: F,
    /// Where the next record goes.
    pub(super) offset: u64,
    pub(super) synced_offset: u64,
    /// Bytes reserved.
    pub(super) capacity: u64,
    /// A part of a record that found no room lies behind `offset`.
    pub(super) is_torn: bool,
    /// Zeros were written up to here.
    zeroed: u64,
}

impl<F> Active<F> {
    /// A segment of which the first `offset` bytes are written, and `capacity` reserved.
    pub(super) fn new(file: F, offset: u64, capacity: u64) -> Self {
        Self {
            file,
            offset,
            synced_offset: offset,
            capacity,
            is_torn: false,
            zeroed: offset,
        }
    }

    /// Whether there is something to sync.
    pub(super) fn is_dirty(&self) -> bool {
        self.synced_offset < self.offset || self.is_torn
    }

    /// Before a sync: writes zeros where the next groups will lie, if they are as small as this one. Room that was reserved
    /// and never written has the file system note with every sync that it is in use now (ext4 and xfs: a commit of their
    /// own journal); what lies on zeros needs a write only.
    ///
    /// # Errors
    /// A write failed, other than for want of room.
    pub(super) fn zero_ahead<S: Storage<File = F>>(&mut self, storage: &mut S) -> io::Result<()> {
        let group = self.offset - self.synced_offset;
        if group > SMALL_GROUP_BYTES_MAX || self.offset + group <= self.zeroed {
            return Ok(());
        }
        let wanted = (self.offset + group * GROUPS_AHEAD).next_multiple_of(BLOCK_BYTES);
        let start = self.offset.max(self.zeroed);
        let end = wanted.min(self.capacity);
        self.zeroed = end;
        if start >= end {
            return Ok(());
        }
        let count = usize::try_from(end - start).expect("a few groups");
        let mut pieces: Vec<IoSlice<'_>> = Vec::with_capacity(count / ZEROS.len() + 1);
        let whole = std::iter::repeat_n(&ZEROS[..], count / ZEROS.len());
        pieces.extend(whole.map(IoSlice::new));
        pieces.push(IoSlice::new(&ZEROS[..count % ZEROS.len()]));
        match write_full(storage, &self.file, start, &mut pieces) {
            // The records that are to lie there will be told so.
            Err(error) if is_full(&error) => Ok(()),
            written => written,
        }
    }
}
