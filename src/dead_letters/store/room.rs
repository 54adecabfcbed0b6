//! How the store gives room back: what stays is moved to the log's end, so that the segments before it can go.

use veltrix_actors::{Finished, JournalFailure};

use super::super::record::{LETTERS, encode};
use super::{DiskDeadLetters, failure};
use crate::journal::AppendError;

/// Dead letters that are moved at a time, to give room back.
const MOVED_PER_TURN_MAX: usize = 512;
/// Bytes of them, but for the last one, which may exceed it.
pub(super) const MOVED_BYTES_MAX: usize = 4 << 20;
/// Places in the log without a dead letter that are worth no work while there is room.
const WASTE_MIN: u64 = 8_192;

impl DiskDeadLetters {
    /// Moves the first dead letters of the log to its end; whether it did.
    pub(super) fn move_on(&mut self) -> Result<bool, JournalFailure> {
        let places = self.index.first(MOVED_PER_TURN_MAX);
        let (mut letters, mut text) = (Vec::with_capacity(places.len()), Vec::new());
        for (position, sequence) in places {
            if text.len() >= MOVED_BYTES_MAX {
                break;
            }
            match self.read(position)? {
                Some(letter) => {
                    encode(&letter, &mut text);
                    letters.push(letter);
                }
                None => {
                    tracing::error!(sequence, "a dead letter was damaged, and is lost");
                    self.index.remove(sequence, sequence + 1);
                }
            }
        }
        if letters.is_empty() {
            return Ok(true);
        }
        let first = match self.write(LETTERS, letters.len(), &text) {
            Ok(first) => first,
            // Nothing is lost by waiting for room.
            Err(AppendError::Full { .. }) => return Ok(false),
            Err(error) => return Err(failure(error)),
        };
        self.keep()?;
        for (position, letter) in (first..).zip(&letters) {
            self.index.insert(letter, position);
        }
        Ok(true)
    }

    /// The first position that is still needed.
    pub(super) fn first_needed(&self) -> u64 {
        let first = self.index.first_position(|_| true);
        first.unwrap_or_else(|| self.log.synced())
    }

    /// Whether so much of the log is no dead letter that moving the others is worth it.
    pub(super) fn is_wasteful(&self, first_needed: u64) -> bool {
        let letters = self.index.len() as u64;
        let waste = (self.log.synced() - first_needed).saturating_sub(letters);
        match self.is_full {
            true => waste > letters / 8,
            false => waste > letters + WASTE_MIN,
        }
    }

    /// Less waste is worth work from now on.
    pub(super) fn note_full(&mut self) {
        if !std::mem::replace(&mut self.is_full, true) {
            self.is_tidy = false;
        }
    }

    /// Writes down that nothing below `prefix` is needed; false if the disk has no room for that.
    pub(super) fn persist(&mut self, prefix: u64, is_synced: bool) -> Result<bool, JournalFailure> {
        let finished = Finished::below(prefix);
        self.log.persist(&finished, is_synced).map_err(failure)
    }
}
