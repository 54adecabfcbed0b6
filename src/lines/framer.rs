//! Cuts a stream of bytes into chunks of whole lines without copying them: a full buffer is handed over as it is, and
//! only the unfinished line at its end moves to the next one.

use std::sync::Arc;

use memchr::{memchr, memrchr};
use veltrix_actors::{BATCH_BYTES_MAX, Charge, MemoryBudget};

/// Bytes of one line unless the source's `max_event` says otherwise.
pub(crate) const EVENT_BYTES_DEFAULT: usize = 2 * 1024 * 1024;
/// Room for the first read of a connection; later ones follow what it sends.
pub(crate) const FIRST_READ_BYTES: usize = 16 * 1024;
/// Room for a read at most: with twice as much, the buffers on their way fall out of the cores' caches (measured: 15 %
/// more CPU on the pipeline benchmark).
const READ_BYTES_MAX: usize = 128 * 1024;
/// Room that a read finds at least.
const READ_BYTES_MIN: usize = 4 * 1024;

/// Some whole lines, and what was skipped before them.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Lines with their newlines, except that the last one may lack it.
    pub(crate) bytes: Vec<u8>,
    /// The number of the first line, from 1.
    pub(crate) first_line: u64,
    /// The number of a line that was too long and is being skipped.
    pub(crate) oversize_line: Option<u64>,
}

/// The state of one stream.
#[derive(Debug)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    /// Bytes at the start of the buffer that are known to hold no newline.
    searched: usize,
    event_bytes_max: usize,
    /// The rest of a line that was too long is dropped up to its newline.
    is_skipping: bool,
    /// The number of the line at the start of the buffer.
    line: u64,
    /// Room for the next buffer's reads.
    read_bytes: usize,
    /// Lines longer than a batch are charged while they grow, since many connections may have one each.
    budget: Arc<MemoryBudget>,
    charge: Option<(usize, Charge)>,
    /// Whether long lines are charged while they grow.
    charges_long_lines: bool,
}

impl Framer {
    /// For lines of `event_bytes_max` at most; the first buffer has room for `read_bytes`.
    pub(crate) fn new(
        event_bytes_max: usize,
        read_bytes: usize,
        budget: Arc<MemoryBudget>,
    ) -> Self {
        Self {
            buffer: Vec::new(),
            searched: 0,
            event_bytes_max,
            is_skipping: false,
            line: 1,
            read_bytes,
            budget,
            charge: None,
            charges_long_lines: true,
        }
    }

    /// Leaves unfinished lines out of the budget: for a source that has one stream at a time and would otherwise wait for
    /// room that its own line takes.
    pub(crate) fn for_one_stream(mut self) -> Self {
        self.charges_long_lines = false;
        self
    }

    /// The buffer, with room in it, for one read to append to; [`Framer::take_lines`] comes next.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        let free = self.buffer.capacity() - self.buffer.len();
        if self.buffer.capacity() == 0 {
            self.buffer = self.budget.buffer(self.read_bytes.min(READ_BYTES_MAX));
        } else if free < READ_BYTES_MIN {
            let grown = (2 * self.buffer.capacity()).max(self.read_bytes);
            let limit = self.event_bytes_max.max(BATCH_BYTES_MAX) + READ_BYTES_MIN;
            let extra = grown.min(limit).saturating_sub(self.buffer.len());
            self.buffer.reserve_exact(extra.max(READ_BYTES_MIN));
            self.charge_long_line();
        }
        &mut self.buffer
    }

    /// Gives a buffer back that was taken out of [`Framer::buffer`] for a thread to read into.
    pub(crate) fn put_back(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    /// Bytes of an unfinished line in the buffer.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the end of a line that was too long has not come yet.
    pub(crate) fn is_skipping(&self) -> bool {
        self.is_skipping
    }

    /// Whether an unfinished line is charged to the memory budget.
    pub(crate) fn holds_budget(&self) -> bool {
        self.charge.is_some()
    }

    /// The lines that are complete by now.
    pub(crate) fn take_lines(&mut self) -> Option<Chunk> {
        if self.is_skipping && !self.end_skipping() {
            return None;
        }
        let Some(newline) = memrchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            return self.skip_if_too_long();
        };
        let end = self.searched + newline + 1;
        let rest = self.buffer.len() - end;
        self.read_bytes = (2 * end).clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        let mut next = Vec::new();
        if rest > 0 {
            next = self
                .budget
                .buffer(self.read_bytes.max(rest + READ_BYTES_MIN));
            next.extend_from_slice(&self.buffer[end..]);
        }
        self.buffer.truncate(end);
        Some(self.hand_over(next))
    }

    /// The last line, if it ended with the stream instead of a newline.
    pub(crate) fn take_rest(&mut self) -> Option<Chunk> {
        let is_partial = !self.is_skipping && !self.buffer.is_empty();
        self.is_skipping = false;
        is_partial.then(|| self.hand_over(Vec::new()))
    }

    fn hand_over(&mut self, next: Vec<u8>) -> Chunk {
        let mut bytes = std::mem::replace(&mut self.buffer, next);
        self.searched = self.buffer.len();
        self.charge = None;
        // The arena is charged and kept by its capacity, so much unused room is not worth the saved copy.
        if bytes.len() < bytes.capacity() / 2 {
            bytes.shrink_to_fit();
        }
        let first_line = self.line;
        self.line += memchr::memchr_iter(b'\n', &bytes).count() as u64;
        Chunk {
            bytes,
            first_line,
            oversize_line: None,
        }
    }

    /// Drops what belongs to the line that is skipped; true once its end was seen.
    fn end_skipping(&mut self) -> bool {
        match memchr(b'\n', &self.buffer) {
            Some(newline) => {
                self.buffer.drain(..=newline);
                self.searched = 0;
                self.line += 1;
                self.is_skipping = false;
            }
            None => self.buffer.clear(),
        }
        !self.is_skipping
    }

    fn skip_if_too_long(&mut self) -> Option<Chunk> {
        if self.buffer.len() <= self.event_bytes_max {
            return None;
        }
        // What the line grew to is given back; the rest of it needs little room.
        self.buffer = Vec::with_capacity(FIRST_READ_BYTES);
        self.searched = 0;
        self.charge = None;
        self.is_skipping = true;
        Some(Chunk {
            oversize_line: Some(self.line),
            ..Chunk::default()
        })
    }

    fn charge_long_line(&mut self) {
        let bytes = self.buffer.capacity();
        let charged = self.charge.as_ref().map_or(0, |(bytes, _)| *bytes);
        if self.charges_long_lines && bytes > BATCH_BYTES_MAX && bytes != charged {
            self.charge = Some((bytes, self.budget.charge(bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framer(event_bytes_max: usize) -> Framer {
        Framer::new(event_bytes_max, 64, MemoryBudget::new(1 << 30))
    }

    fn feed(framer: &mut Framer, bytes: &[u8]) -> Option<Chunk> {
        framer.buffer().extend_from_slice(bytes);
        framer.take_lines()
    }

    #[test]
    fn lines_come_whole_however_the_reads_cut_them() {
        let mut framer = framer(1_000);
        assert!(feed(&mut framer, b"on").is_none());
        let chunk = feed(&mut framer, b"e\ntwo\nthr").expect("two lines");
        assert_eq!(chunk.bytes, b"one\ntwo\n");
        assert_eq!(chunk.first_line, 1);
        assert_eq!(framer.partial_bytes(), 3);
        let chunk = feed(&mut framer, b"ee\n").expect("the third line");
        assert_eq!((&chunk.bytes[..], chunk.first_line), (&b"three\n"[..], 3));
        assert!(framer.take_rest().is_none());
        assert!(feed(&mut framer, b"four").is_none());
        let chunk = framer.take_rest().expect("the last line");
        assert_eq!((&chunk.bytes[..], chunk.first_line), (&b"four"[..], 4));
    }

    #[test]
    fn an_endless_line_is_skipped_in_little_memory() {
        let mut framer = framer(10_000);
        assert!(feed(&mut framer, b"first\nx").is_some());
        let mut refused = Vec::new();
        for _ in 0..1_000 {
            refused.extend(feed(&mut framer, &[b'x'; 5_000]).and_then(|chunk| chunk.oversize_line));
            assert!(framer.buffer.capacity() < 40_000);
        }
        assert_eq!(refused, [2]);
        let chunk = feed(&mut framer, b"xx\nthird\n").expect("the line behind it");
        assert_eq!((&chunk.bytes[..], chunk.first_line), (&b"third\n"[..], 3));
    }

    #[test]
    fn a_long_line_is_charged_while_it_grows() {
        let budget = MemoryBudget::new(1 << 30);
        let mut framer = Framer::new(EVENT_BYTES_DEFAULT, 64, budget.clone());
        for _ in 0..1_000 {
            assert!(feed(&mut framer, &[b'x'; 1_000]).is_none());
        }
        assert!(framer.holds_budget() && budget.used_bytes() >= 1_000_000);
        assert_eq!(
            feed(&mut framer, b"\n").map(|chunk| chunk.bytes.len()),
            Some(1_000_001)
        );
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_chunk_keeps_little_unused_room() {
        let mut framer = Framer::new(1_000, BATCH_BYTES_MAX, MemoryBudget::new(1));
        let chunk = feed(&mut framer, b"one\n").expect("a line");
        assert!(chunk.bytes.capacity() < 100);
    }
}
