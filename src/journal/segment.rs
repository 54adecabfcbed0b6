//! A segment file: its name, its header, and what the log keeps in mind of it.

use std::ops::Range;

use super::record::{u32_at, u64_at};

/// The one version of the format of segments and cursors so far.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 32;

const MAGIC: [u8; 8] = *b"\xFFVLTXSEG";
const SUFFIX: &str = ".seg";
const NAME_DIGITS: usize = 20;

/// One file, in the order of sequences; the last one may be appended to.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// The sequence that its name tells.
    pub(super) first: u64,
    /// Bytes up to the end of its last record; of sealed ones the file's length.
    pub(super) bytes: u64,
    /// When it was created.
    pub(super) created_ms: u64,
}

impl Segment {
    pub(super) fn name(&self) -> String {
        name_of(self.first)
    }
}

/// The name of the segment whose first sequence is `first`.
pub(super) fn name_of(first: u64) -> String {
    format!("{first:0NAME_DIGITS$}{SUFFIX}")
}

/// The first sequence of the segment of that name, if it is one.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let is_number = digits.len() == NAME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// What a segment's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentHeader {
    Known {
        first: u64,
        created_ms: u64,
    },
    /// Written by a newer program.
    Newer {
        version: u32,
    },
    /// Torn or damaged: its records speak for themselves.
    Damaged,
}

/// The header's bytes. Later versions keep the places of magic, version and checksum.
pub(super) fn encode_header(first: u64, created_ms: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[12..16].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&first.to_le_bytes());
    bytes[24..32].copy_from_slice(&created_ms.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn decode_header(bytes: &[u8]) -> SegmentHeader {
    let Some(bytes) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>() else {
        return SegmentHeader::Damaged;
    };
    if bytes[0..8] != MAGIC || u32_at(bytes, 8) != crc32c::crc32c(&bytes[12..]) {
        return SegmentHeader::Damaged;
    }
    match u32_at(bytes, 12) {
        FORMAT_VERSION => SegmentHeader::Known {
            first: u64_at(bytes, 16),
            created_ms: u64_at(bytes, 24),
        },
        version => SegmentHeader::Newer { version },
    }
}

/// The sequences that may lie in the segment at `index`: up to the next one's first, or the log's end.
pub(super) fn sequences_of(segments: &[Segment], index: usize, end: u64) -> Range<u64> {
    let next = segments.get(index + 1).map_or(end, |next| next.first);
    segments[index].first..next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_their_sequences_and_nothing_else_is_one() {
        assert_eq!(name_of(42), "00000000000000000042.seg");
        assert_eq!(first_of(&name_of(u64::MAX)), Some(u64::MAX));
        for name in [
            "cursor",
            "42.seg",
            "0000000000000000004x.seg",
            "99999999999999999999.seg",
        ] {
            assert_eq!(first_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_header_is_known_newer_or_damaged() {
        let bytes = encode_header(9, 77);
        let known = SegmentHeader::Known {
            first: 9,
            created_ms: 77,
        };
        assert_eq!(decode_header(&bytes), known);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_header(&flipped), SegmentHeader::Damaged, "bit {bit}");
        }
        assert_eq!(decode_header(&bytes[..31]), SegmentHeader::Damaged);
        let mut newer = bytes;
        newer[12] = 2;
        let crc = crc32c::crc32c(&newer[12..]);
        newer[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode_header(&newer), SegmentHeader::Newer { version: 2 });
    }
}
