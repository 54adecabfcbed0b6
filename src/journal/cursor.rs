//! The cursor file: how far the log's user is, in two slots of which one is always whole.

use std::io::{self, IoSlice};

use veltrix_actors::Finished;

use super::error::OpenError;
use super::record::{u32_at, u64_at};
use super::segment::FORMAT_VERSION;
use super::storage::{Storage, read_full, write_full};

/// Finished ranges beyond the prefix that the cursor keeps; what lies beyond them is handled again after a crash.
pub const CURSOR_RANGES_MAX: usize = 1_000;

const NAME: &str = "cursor";
const MAGIC: [u8; 8] = *b"\xFFVLTXCUR";
const SLOT_BYTES: u64 = 16 * 1024;
/// Magic, checksum, version, generation, synced, prefix, number of ranges.
const HEADER_BYTES: usize = 48;
const RANGE_BYTES: usize = 16;
/// Where the part begins that two generations of one state have in common.
const STATE_AT: usize = 24;

/// The state that a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CursorState {
    pub(super) finished: Finished,
    /// Everything below was on the disk.
    pub(super) synced: u64,
}

/// The open cursor file.
///
/// A slot that is known synced is not written before the other one is synced in turn, so that a power cut that tears what
/// was written since leaves that one.
#[derive(Debug)]
pub(super) struct Cursor<F> {
    file: F,
    generation: u64,
    /// The slot that must stay.
    kept_slot: u64,
    /// There is nothing to sync.
    is_synced: bool,
    /// What was written last; empty if that failed.
    written: Vec<u8>,
}

/// What was found when the cursor was opened.
#[derive(Debug)]
pub(super) struct FoundCursor {
    /// The newest whole slot.
    pub(super) state: Option<CursorState>,
}

impl<F> Cursor<F> {
    /// Opens or creates the file; its name and room are durable once it and the directory are synced.
    pub(super) fn open<S: Storage<File = F>>(
        storage: &mut S,
        was_there: bool,
    ) -> Result<(Self, FoundCursor), OpenError> {
        let file = match was_there {
            true => storage.open(NAME),
            false => storage.create(NAME),
        }
        .map_err(OpenError::io("open the cursor"))?;
        let (newest, kept_slot) = newest_slot(storage, &file)?;
        storage
            .allocate(&file, 2 * SLOT_BYTES)
            .map_err(OpenError::io("reserve room for the cursor"))?;
        // What a killed process wrote last may not be on the disk yet, and the next write goes over the slot before it. It is
        // written once more: after a failed sync the kernel takes pages for clean that never reached the disk.
        if let Slot::Known { generation, state } = &newest {
            let bytes = encode(*generation, &state.finished, state.synced);
            let offset = kept_slot * SLOT_BYTES;
            write_full(storage, &file, offset, &mut [IoSlice::new(&bytes)])
                .map_err(OpenError::io("write the cursor again"))?;
        }
        storage
            .sync(&file)
            .map_err(OpenError::io("sync the cursor"))?;
        let cursor = Self {
            file,
            generation: newest.generation(),
            kept_slot,
            is_synced: false,
            written: Vec::new(),
        };
        let state = newest.into_state();
        Ok((cursor, FoundCursor { state }))
    }

    /// Writes the state as the next generation, unless it is the one written last. After an error the one synced last
    /// stands.
    pub(super) fn write<S: Storage<File = F>>(
        &mut self,
        storage: &mut S,
        finished: &Finished,
        synced: u64,
    ) -> io::Result<()> {
        let bytes = encode(self.generation + 1, finished, synced);
        if self.written.get(STATE_AT..) == bytes.get(STATE_AT..) {
            return Ok(());
        }
        // What the slot held is gone even if the write fails, and a sync then has nothing to make last.
        self.is_synced = true;
        self.written.clear();
        self.generation += 1;
        let free_slot = match planted!(SlotWrittenOver) {
            true => self.kept_slot,
            false => 1 - self.kept_slot,
        };
        let offset = free_slot * SLOT_BYTES;
        write_full(storage, &self.file, offset, &mut [IoSlice::new(&bytes)])?;
        self.written = bytes;
        self.is_synced = false;
        Ok(())
    }

    /// Brings what was written to the disk.
    pub(super) fn sync<S: Storage<File = F>>(&mut self, storage: &mut S) -> io::Result<()> {
        if self.is_synced {
            return Ok(());
        }
        storage.sync(&self.file)?;
        self.is_synced = true;
        self.kept_slot = 1 - self.kept_slot;
        Ok(())
    }
}

/// The state that the cursor file holds; nothing is changed.
pub(super) fn read_cursor<S: Storage>(storage: &mut S) -> Result<FoundCursor, OpenError> {
    let file = storage
        .open(NAME)
        .map_err(OpenError::io("open the cursor"))?;
    let (newest, _) = newest_slot(storage, &file)?;
    Ok(FoundCursor {
        state: newest.into_state(),
    })
}

/// Whether the directory's listing has a cursor.
pub(super) fn is_cursor(name: &str) -> bool {
    name == NAME
}

enum Slot {
    Known { generation: u64, state: CursorState },
    Newer { version: u32 },
    Damaged,
}

impl Slot {
    /// 0 if there is none: the first one written is 1.
    fn generation(&self) -> u64 {
        match self {
            Self::Known { generation, .. } => *generation,
            Self::Newer { .. } | Self::Damaged => 0,
        }
    }

    fn into_state(self) -> Option<CursorState> {
        match self {
            Self::Known { state, .. } => Some(state),
            Self::Newer { .. } | Self::Damaged => None,
        }
    }
}

/// The newest whole slot, and its index.
fn newest_slot<S: Storage>(storage: &mut S, file: &S::File) -> Result<(Slot, u64), OpenError> {
    let (mut newest, mut newest_index) = (Slot::Damaged, 0);
    for index in 0..2 {
        let slot =
            read_slot(storage, file, index).map_err(OpenError::io(format!("read {NAME}")))?;
        if let Slot::Newer { version } = slot {
            let name = NAME.to_owned();
            return Err(OpenError::NewerFormat { name, version });
        }
        let is_newer = slot.generation() > newest.generation();
        if is_newer && !(planted!(OlderSlotChosen) && newest.generation() > 0) {
            newest = slot;
            newest_index = index;
        }
    }
    Ok((newest, newest_index))
}

fn read_slot<S: Storage>(storage: &mut S, file: &S::File, index: u64) -> io::Result<Slot> {
    let mut bytes = vec![0; SLOT_BYTES as usize];
    let filled = read_full(storage, file, index * SLOT_BYTES, &mut bytes)?;
    Ok(decode(&bytes[..filled]))
}

fn encode(generation: u64, finished: &Finished, synced: u64) -> Vec<u8> {
    let count = finished.ranges().len().min(CURSOR_RANGES_MAX);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + count * RANGE_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&synced.to_le_bytes());
    let prefix = match planted!(CursorPastGap) {
        true => finished.end(),
        false => finished.prefix(),
    };
    bytes.extend_from_slice(&prefix.to_le_bytes());
    bytes.extend_from_slice(&(count as u64).to_le_bytes());
    for range in finished.ranges().take(count) {
        bytes.extend_from_slice(&range.start.to_le_bytes());
        bytes.extend_from_slice(&range.end.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Slot {
    if bytes.len() < HEADER_BYTES || bytes[0..8] != MAGIC {
        return Slot::Damaged;
    }
    // A damaged number of ranges must not be believed before the checksum says so.
    let count = usize::try_from(u64_at(bytes, 40)).map_or(0, |count| count.min(CURSOR_RANGES_MAX));
    let Some(covered) = bytes.get(12..HEADER_BYTES + count * RANGE_BYTES) else {
        return Slot::Damaged;
    };
    if u32_at(bytes, 8) != crc32c::crc32c(covered) {
        return Slot::Damaged;
    }
    match u32_at(bytes, 12) {
        FORMAT_VERSION => {
            let mut finished = Finished::below(u64_at(bytes, 32));
            for index in 0..count {
                let at = HEADER_BYTES + index * RANGE_BYTES;
                finished.insert(u64_at(bytes, at)..u64_at(bytes, at + 8));
            }
            let synced = u64_at(bytes, 24);
            let state = CursorState { finished, synced };
            let generation = u64_at(bytes, 16);
            Slot::Known { generation, state }
        }
        version => Slot::Newer { version },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished() -> Finished {
        let mut finished = Finished::below(100);
        finished.insert(110..120);
        finished.insert(130..131);
        finished
    }

    #[test]
    fn a_slot_comes_back_and_no_flipped_bit_does() {
        let bytes = encode(7, &finished(), 140);
        match decode(&bytes) {
            Slot::Known { generation, state } => {
                assert_eq!((generation, state.synced), (7, 140));
                assert_eq!(state.finished, finished());
            }
            _ => panic!("not known"),
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&flipped), Slot::Damaged), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..length]), Slot::Damaged));
        }
    }

    #[test]
    fn a_slot_needs_no_ranges() {
        let bytes = encode(1, &Finished::below(5), 9);
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert!(
            matches!(decode(&bytes), Slot::Known { state, .. } if state.finished.prefix() == 5)
        );
    }

    #[test]
    fn a_slot_keeps_the_lowest_ranges() {
        let mut finished = Finished::below(0);
        for index in 1..=2_000 {
            finished.insert(index * 3..index * 3 + 1);
        }
        let bytes = encode(1, &finished, 9_000);
        assert!(bytes.len() as u64 <= SLOT_BYTES);
        let Slot::Known { state, .. } = decode(&bytes) else {
            panic!("not known");
        };
        let kept: Vec<_> = state.finished.ranges().collect();
        assert_eq!(kept.len(), CURSOR_RANGES_MAX);
        assert_eq!(kept.last(), Some(&(3_000..3_001)));
    }

    #[test]
    fn a_newer_slot_is_told_apart_from_a_damaged_one() {
        let mut bytes = encode(1, &finished(), 0);
        bytes[12] = 3;
        let crc = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(decode(&bytes), Slot::Newer { version: 3 }));
    }
}
