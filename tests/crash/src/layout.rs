//! The journal's files as they lie on the disk, read on our own: what Veltrix says of its journal is not evidence.
//!
//! The layout is that of `record.rs`, `segment.rs` and `cursor.rs` in `src/journal`.

/// Bytes before a segment's first record.
const SEGMENT_HEADER_BYTES: usize = 32;
const RECORD_HEADER_BYTES: usize = 48;
const RECORD_MAGIC: [u8; 4] = [0xFF, 0xC1, 0xF5, b'V'];
const CURSOR_MAGIC: [u8; 8] = *b"\xFFVLTXCUR";
const CURSOR_SLOT_BYTES: usize = 16 * 1024;
const CURSOR_HEADER_BYTES: usize = 48;
const RANGE_BYTES: usize = 16;

/// A whole record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where it begins in the segment.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
    /// The sequence behind its last event.
    pub(crate) end_sequence: u64,
}

/// The last record of a segment, before whatever has no whole header.
pub(crate) fn last_record(segment: &[u8]) -> Option<Record> {
    let (mut found, mut start) = (None, SEGMENT_HEADER_BYTES);
    while let Some(bytes) = segment.get(start..).and_then(record_bytes)
        && start + bytes <= segment.len()
    {
        let header = &segment[start..];
        found = Some(Record {
            start,
            end: start + bytes,
            end_sequence: u64_at(header, 8) + u64::from(u32_at(header, 32)),
        });
        start += bytes;
    }
    found
}

fn record_bytes(record: &[u8]) -> Option<usize> {
    let header = record.get(..RECORD_HEADER_BYTES)?;
    let tag = usize::from(u16::from_le_bytes([header[44], header[45]]));
    let payload = u32_at(header, 36) as usize;
    let is_whole = header[..4] == RECORD_MAGIC && u32_at(header, 4) == crc32c(&header[8..]);
    is_whole.then_some(RECORD_HEADER_BYTES + tag + payload)
}

/// A record again, with the sequence of the one that would follow it: its header is right.
pub(crate) fn next_record(segment: &[u8], last: Record) -> Vec<u8> {
    let mut next = segment[last.start..last.end].to_vec();
    next[8..16].copy_from_slice(&last.end_sequence.to_le_bytes());
    let crc = crc32c(&next[8..RECORD_HEADER_BYTES]);
    next[4..8].copy_from_slice(&crc.to_le_bytes());
    next
}

/// How far the journal's reader is, by the newest whole slot of the cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Everything below is finished.
    pub(crate) prefix: u64,
    /// Finished events beyond.
    pub(crate) beyond: u64,
}

impl Cursor {
    /// Of the cursor's file.
    pub(crate) fn read(file: &[u8]) -> Self {
        let slots = file.chunks(CURSOR_SLOT_BYTES).filter_map(slot);
        let newest = slots.max_by_key(|(generation, _)| *generation);
        newest.map(|(_, cursor)| cursor).unwrap_or_default()
    }

    /// Events that are not finished, of those below `end`.
    pub(crate) fn unfinished(&self, end: u64) -> u64 {
        end.saturating_sub(self.prefix).saturating_sub(self.beyond)
    }
}

fn slot(bytes: &[u8]) -> Option<(u64, Cursor)> {
    let header = bytes.get(..CURSOR_HEADER_BYTES)?;
    let count = usize::try_from(u64_at(header, 40)).ok()?;
    let end = count
        .checked_mul(RANGE_BYTES)?
        .checked_add(CURSOR_HEADER_BYTES)?;
    let covered = bytes.get(12..end)?;
    if header[..8] != CURSOR_MAGIC || u32_at(header, 8) != crc32c(covered) {
        return None;
    }
    let ranges = bytes[CURSOR_HEADER_BYTES..end].chunks(RANGE_BYTES);
    let cursor = Cursor {
        prefix: u64_at(header, 32),
        beyond: ranges
            .map(|range| u64_at(range, 8) - u64_at(range, 0))
            .sum(),
    };
    Some((u64_at(header, 16), cursor))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 * (crc & 1))
        })
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(first: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_HEADER_BYTES];
        bytes[..4].copy_from_slice(&RECORD_MAGIC);
        bytes[8..16].copy_from_slice(&first.to_le_bytes());
        bytes[32..36].copy_from_slice(&3_u32.to_le_bytes());
        bytes[36..40].copy_from_slice(&(body.len() as u32).to_le_bytes());
        let crc = crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn the_last_record_is_found_before_preallocated_zeros() {
        let mut segment = vec![0; SEGMENT_HEADER_BYTES];
        segment.extend(record(7, b"one"));
        let start = segment.len();
        segment.extend(record(10, b"two, longer"));
        let end = segment.len();
        // A header of which the disk has the first bytes only.
        segment.extend(&RECORD_MAGIC);
        segment.resize(4_096, 0);
        let last = last_record(&segment).expect("one");
        let expected = Record {
            start,
            end,
            end_sequence: 13,
        };
        assert_eq!(last, expected);
        let next = next_record(&segment, last);
        assert_eq!(next.len(), end - start);
        assert_eq!(next[8..16], 13_u64.to_le_bytes());
        assert_eq!(last_record(&[0; 100]), None);
    }

    #[test]
    fn the_newest_whole_slot_of_the_cursor_counts() {
        let slot = |generation: u64, prefix: u64| {
            let mut bytes = CURSOR_MAGIC.to_vec();
            bytes.extend([0; 4]);
            bytes.extend(1_u32.to_le_bytes());
            for number in [generation, 0, prefix, 1, prefix + 10, prefix + 15] {
                bytes.extend(number.to_le_bytes());
            }
            let crc = crc32c(&bytes[12..]);
            bytes[8..12].copy_from_slice(&crc.to_le_bytes());
            bytes.resize(CURSOR_SLOT_BYTES, 0);
            bytes
        };
        let mut file = [slot(7, 100), slot(8, 200)].concat();
        let newest = Cursor {
            prefix: 200,
            beyond: 5,
        };
        assert_eq!(Cursor::read(&file), newest);
        assert_eq!(newest.unfinished(230), 25);
        file[CURSOR_SLOT_BYTES + 33] ^= 1;
        assert_eq!(Cursor::read(&file).prefix, 100);
        assert_eq!(Cursor::read(&[]), Cursor::default());
    }
}
