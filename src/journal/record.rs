//! One record: a header of fixed size, the tag, the payload. All numbers are little endian.

/// Events of one record.
pub const RECORD_EVENTS_MAX: u32 = 1_024;
/// Bytes of one record, with its header and tag.
pub const RECORD_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a record's header.
pub(super) const HEADER_BYTES: usize = 48;

/// What a header begins with. Tags and payloads are UTF-8, which has none of the first three bytes, so that no text within
/// a damaged record is ever taken for a record, whoever wrote it.
pub(super) const MAGIC: [u8; 4] = [0xFF, 0xC1, 0xF5, b'V'];

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    /// Sequence of the first event.
    pub(super) first: u64,
    /// 1 to [`RECORD_EVENTS_MAX`].
    pub(super) events: u32,
    pub(super) time_ms: u64,
    /// The sequence below which everything was known synced when the record was written.
    pub(super) durable: u64,
    pub(super) tag_bytes: u16,
    pub(super) payload_bytes: u32,
    /// CRC32C of tag and payload.
    pub(super) body_crc: u32,
    /// It stands for events that were never acknowledged, whose records were torn; the body is what was left of them.
    pub(super) is_void: bool,
}

/// The flag of void records.
const VOID: u16 = 1;

impl RecordHeader {
    /// The sequence behind the last event.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.events)
    }

    /// Bytes of tag and payload.
    pub(super) fn body_bytes(&self) -> u64 {
        u64::from(self.tag_bytes) + u64::from(self.payload_bytes)
    }

    /// Bytes of the whole record.
    pub(super) fn bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.body_bytes()
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.durable.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.time_ms.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.events.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[44..46].copy_from_slice(&self.tag_bytes.to_le_bytes());
        bytes[46..48].copy_from_slice(&(u16::from(self.is_void) * VOID).to_le_bytes());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`, if there is an undamaged one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let is_right = u32_at(bytes, 4) == crc32c::crc32c(&bytes[8..]);
        if bytes[0..4] != MAGIC || !(is_right || planted!(HeaderChecksumIgnored)) {
            return None;
        }
        let header = Self {
            first: u64_at(bytes, 8),
            durable: u64_at(bytes, 16),
            time_ms: u64_at(bytes, 24),
            events: u32_at(bytes, 32),
            payload_bytes: u32_at(bytes, 36),
            body_crc: u32_at(bytes, 40),
            tag_bytes: u16::from_le_bytes([bytes[44], bytes[45]]),
            is_void: u16::from_le_bytes([bytes[46], bytes[47]]) & VOID != 0,
        };
        let is_sound = (header.is_void || (1..=RECORD_EVENTS_MAX).contains(&header.events))
            && header.first.checked_add(u64::from(header.events)).is_some()
            && header.bytes() <= RECORD_BYTES_MAX;
        is_sound.then_some(header)
    }
}

/// CRC32C of pieces that lie one after the other.
pub(super) fn crc_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    pieces.into_iter().fold(0, crc32c::crc32c_append)
}

/// The number at `at` of something of fixed size.
///
/// # Panics
/// If `bytes` ends before it.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes[at..].first_chunk().expect("the layout is fixed");
    u32::from_le_bytes(*field)
}

/// As [`u32_at`].
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let field = bytes[at..].first_chunk().expect("the layout is fixed");
    u64::from_le_bytes(*field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> RecordHeader {
        RecordHeader {
            first: 7,
            events: 3,
            time_ms: 1_700_000_000_123,
            durable: 5,
            tag_bytes: 4,
            payload_bytes: 900,
            body_crc: 0xDEAD_BEEF,
            is_void: false,
        }
    }

    #[test]
    fn a_header_comes_back_and_no_flipped_bit_does() {
        let bytes = header().encode();
        assert_eq!(RecordHeader::decode(&bytes), Some(header()));
        let void = RecordHeader {
            is_void: true,
            events: 0,
            ..header()
        };
        assert_eq!(RecordHeader::decode(&void.encode()), Some(void));
        assert_eq!(header().bytes(), 48 + 904);
        assert_eq!(header().end(), 10);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&flipped), None, "bit {bit}");
        }
        assert_eq!(RecordHeader::decode(&bytes[..47]), None);
    }

    #[test]
    fn a_header_that_makes_no_sense_is_none() {
        let events = |events| RecordHeader { events, ..header() };
        assert!(RecordHeader::decode(&events(RECORD_EVENTS_MAX).encode()).is_some());
        assert_eq!(RecordHeader::decode(&events(0).encode()), None);
        assert_eq!(RecordHeader::decode(&events(1_025).encode()), None);
        let first = u64::MAX;
        assert_eq!(
            RecordHeader::decode(&RecordHeader { first, ..header() }.encode()),
            None
        );
        let payload_bytes = u32::MAX;
        let long = RecordHeader {
            payload_bytes,
            ..header()
        };
        assert_eq!(RecordHeader::decode(&long.encode()), None);
    }

    #[test]
    fn the_checksum_is_that_of_the_joined_pieces() {
        // The check value of CRC-32C.
        assert_eq!(crc_of([b"1234".as_slice(), b"", b"56789"]), 0xE306_9283);
    }

    #[test]
    fn no_text_holds_what_a_header_begins_with() {
        for byte in &MAGIC[..3] {
            assert!(std::str::from_utf8(&[*byte]).is_err());
            assert!(
                "\u{10FFFF}\u{7FF}\u{FFFF}"
                    .bytes()
                    .all(|text| text != *byte)
            );
        }
    }
}
