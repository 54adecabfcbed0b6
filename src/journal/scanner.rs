//! Walks the records of a segment, over damage to the next record that is none.

use std::io;
use std::ops::Range;

use super::record::{HEADER_BYTES, MAGIC, RecordHeader};
use super::segment::SEGMENT_HEADER_BYTES;
use super::storage::{BLOCK_BYTES, Storage, ZEROS, read_full};

/// Bytes that are read at once.
const WINDOW_BYTES: usize = ZEROS.len();

/// What comes next in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An undamaged header at `offset`; the body was not looked at.
    Record { offset: u64, header: RecordHeader },
    /// Events that were given up, and the bytes that were theirs.
    Void { offset: u64, header: RecordHeader },
    /// No record, up to the one that follows.
    Damage { bytes: Range<u64> },
    /// No further record: `bytes` up to the last one that is not zero.
    End { bytes: Range<u64> },
}

/// A place in a segment, always between two records.
#[derive(Debug)]
pub(super) struct Scanner {
    /// Where the next record is looked for.
    pub(super) offset: u64,
    /// The lowest sequence that the next record may have.
    pub(super) expected: u64,
    /// The sequence that no record reaches.
    pub(super) limit: u64,
    /// Nothing is read from here on.
    pub(super) length: u64,
    window: Window,
}

impl Scanner {
    /// At the start of a segment of `length` bytes that may hold the sequences of `expected`.
    pub(super) fn new(expected: Range<u64>, length: u64) -> Self {
        Self {
            offset: SEGMENT_HEADER_BYTES as u64,
            expected: expected.start,
            limit: expected.end,
            length,
            window: Window::default(),
        }
    }

    /// The next item; `End` again and again at the end.
    pub(super) fn next<S: Storage>(&mut self, storage: &mut S, file: &S::File) -> Item {
        let offset = self.offset;
        if offset >= self.length {
            return Item::End {
                bytes: offset..offset,
            };
        }
        if let Some(header) = self.header_at(storage, file, offset) {
            self.offset = offset + header.bytes();
            self.expected = header.end();
            return match header.is_void {
                true => Item::Void { offset, header },
                false => Item::Record { offset, header },
            };
        }
        self.find_next(storage, file)
    }

    /// Why a block could not be read since the last call, and was taken for damage.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.window.failure.take()
    }

    /// Goes back to before a record that `next` has just given.
    pub(super) fn step_back(&mut self, offset: u64, header: &RecordHeader) {
        self.offset = offset;
        self.expected = header.first;
    }

    /// The header at `offset`, if it is undamaged and may be here.
    fn header_at<S: Storage>(
        &mut self,
        storage: &mut S,
        file: &S::File,
        offset: u64,
    ) -> Option<RecordHeader> {
        let bytes = self
            .window
            .at(storage, file, offset, HEADER_BYTES, self.length);
        RecordHeader::decode(bytes).filter(|header| {
            header.first >= self.expected
                && header.end() <= self.limit
                && offset + header.bytes() <= self.length
        })
    }

    fn find_next<S: Storage>(&mut self, storage: &mut S, file: &S::File) -> Item {
        let start = self.offset;
        let mut at = start;
        let mut written_end = start;
        while at < self.length {
            let bytes = self.window.at(storage, file, at, MAGIC.len(), self.length);
            if bytes.is_empty() {
                // The file is shorter than it was when it was listed.
                break;
            }
            let count = bytes.len() as u64;
            // Most of what is searched is room that was never written; comparing is the fastest way past it.
            let candidate = match bytes == &ZEROS[..bytes.len()] {
                true => None,
                false => {
                    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                    written_end = written_end.max(at + last as u64 + 1);
                    // The record at `start` itself was found to be none.
                    let skipped = usize::from(at == start);
                    memchr::memmem::find(&bytes[skipped..], &MAGIC).map(|index| index + skipped)
                }
            };
            match candidate {
                Some(index) => {
                    at += index as u64;
                    if at > start && self.header_at(storage, file, at).is_some() {
                        self.offset = at;
                        return Item::Damage { bytes: start..at };
                    }
                    at += 1;
                }
                None if bytes_behind(at, count, self.length) => at += count - OVERLAP_BYTES,
                None => break,
            }
        }
        self.offset = self.length;
        Item::End {
            bytes: start..written_end,
        }
    }
}

/// A magic may begin within so many last bytes of what was searched.
const OVERLAP_BYTES: u64 = MAGIC.len() as u64 - 1;

/// Whether there is more to search behind the `count` bytes at `at`.
fn bytes_behind(at: u64, count: u64, length: u64) -> bool {
    count > OVERLAP_BYTES && at + count < length
}

/// The part of a file that was read last.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
    /// Why a block could not be read.
    failure: Option<io::Error>,
}

impl Window {
    /// What is at `offset`: at least `wanted` bytes, unless `length` or the file ends before.
    fn at<S: Storage>(
        &mut self,
        storage: &mut S,
        file: &S::File,
        offset: u64,
        wanted: usize,
        length: u64,
    ) -> &[u8] {
        let wanted = (length - offset).min(wanted as u64);
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + wanted > end {
            let room = (length - offset).min(WINDOW_BYTES as u64) as usize;
            self.bytes.clear();
            self.bytes.extend_from_slice(&ZEROS[..room]);
            self.start = offset;
            let filled = match read_full(storage, file, offset, &mut self.bytes) {
                Ok(filled) => filled,
                Err(_) => self.read_blocks(storage, file, offset, wanted),
            };
            self.bytes.truncate(filled);
        }
        &self.bytes[(offset - self.start) as usize..]
    }

    /// Reads block by block, up to the end of the one with the last of the `wanted` bytes. One that cannot be read is damage
    /// (zeros, as nothing is known of it): it must not hide what is around it.
    fn read_blocks<S: Storage>(
        &mut self,
        storage: &mut S,
        file: &S::File,
        offset: u64,
        wanted: u64,
    ) -> usize {
        let mut filled = 0;
        while (filled as u64) < wanted {
            let at = offset + filled as u64;
            let block_end = (BLOCK_BYTES - at % BLOCK_BYTES) as usize;
            let count = block_end.min(self.bytes.len() - filled);
            let block = &mut self.bytes[filled..filled + count];
            let read = read_full(storage, file, at, block).unwrap_or_else(|error| {
                tracing::error!(%error, offset = at, "a block of a segment cannot be read");
                block.fill(0);
                self.failure.get_or_insert(error);
                count
            });
            filled += read;
            if read < count {
                break;
            }
        }
        filled
    }
}
