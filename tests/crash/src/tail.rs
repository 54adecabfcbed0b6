//! Writes into the newest segment of a dead process, behind its last record: what a torn write might have left there.
//!
//! Only there, since a process may have synced every record that is whole, and a disk keeps what was synced.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use crate::dice::Dice;
use crate::journal::Journal;

/// A torn write rarely leaves more.
const NOISE_BYTES: u64 = 4_096;
/// The layout of a segment, as `src/journal/record.rs` and `segment.rs` have it.
const SEGMENT_HEADER_BYTES: usize = 32;
const HEADER_BYTES: usize = 48;
const MAGIC: [u8; 4] = [0xFF, 0xC1, 0xF5, b'V'];

/// Noise, a record that was begun, or the end of the file, behind the last record; true if there was one.
pub(crate) fn mutilate(journal: &Journal, dice: &mut Dice) -> anyhow::Result<bool> {
    let Some((path, length)) = journal.segments()?.pop() else {
        return Ok(false);
    };
    let text = std::fs::read(&path)?;
    let Some((last, end)) = last_record(&text) else {
        return Ok(false);
    };
    let file = OpenOptions::new().write(true).open(&path)?;
    let end = end as u64;
    match dice.below(3) {
        0 => {
            let count = 1 + dice.below(NOISE_BYTES);
            let noise: Vec<u8> = (0..count).map(|_| dice.next() as u8).collect();
            file.write_all_at(&noise, end)?;
        }
        1 => {
            let mut begun = next_record(&text[last..]);
            let count = 1 + dice.below(begun.len() as u64 - 1);
            begun.truncate(usize::try_from(count)?);
            file.write_all_at(&begun, end)?;
        }
        _ => file.set_len(end + dice.below(length.saturating_sub(end) + 1))?,
    }
    Ok(true)
}

/// Where the last whole record starts and ends.
fn last_record(segment: &[u8]) -> Option<(usize, usize)> {
    let (mut found, mut start) = (None, SEGMENT_HEADER_BYTES);
    while let Some(bytes) = segment.get(start..).and_then(record_bytes)
        && start + bytes <= segment.len()
    {
        found = Some((start, start + bytes));
        start += bytes;
    }
    found
}

fn record_bytes(record: &[u8]) -> Option<usize> {
    let header = record.get(..HEADER_BYTES)?;
    let tag = u16::from_le_bytes([header[44], header[45]]);
    let payload = u32::from_le_bytes(header[36..40].try_into().ok()?);
    (header[..4] == MAGIC).then_some(HEADER_BYTES + usize::from(tag) + payload as usize)
}

/// The last record again, with the sequence of the one that would follow: its header is right.
fn next_record(last: &[u8]) -> Vec<u8> {
    let bytes = record_bytes(last).expect("a record starts here");
    let mut next = last[..bytes].to_vec();
    let first = u64::from_le_bytes(next[8..16].try_into().expect("8 bytes"));
    let events = u32::from_le_bytes(next[32..36].try_into().expect("4 bytes"));
    next[8..16].copy_from_slice(&(first + u64::from(events)).to_le_bytes());
    let crc = crc32c(&next[8..HEADER_BYTES]);
    next[4..8].copy_from_slice(&crc.to_le_bytes());
    next
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
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&first.to_le_bytes());
        bytes[32..36].copy_from_slice(&3_u32.to_le_bytes());
        bytes[36..40].copy_from_slice(&(body.len() as u32).to_le_bytes());
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
        let last = segment.len();
        segment.extend(record(10, b"two, longer"));
        let end = segment.len();
        segment.resize(4_096, 0);
        assert_eq!(last_record(&segment), Some((last, end)));
        let next = next_record(&segment[last..]);
        assert_eq!(next.len(), end - last);
        assert_eq!(next[8..16], 13_u64.to_le_bytes());
        assert_eq!(last_record(&[0; 100]), None);
    }
}
