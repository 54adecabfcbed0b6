//! Opens what a process left behind, however it ended: decides what is whole, torn or damaged, and makes it last.
//!
//! Only the last segment is read. Whatever lies before it was synced before that segment was created, so nothing there can
//! be torn, and damage there is met when it is read. So the time to open does not grow with the backlog.

use std::io;
use std::ops::Range;

use veltrix_actors::Finished;

use super::cursor::{Cursor, FoundCursor, is_cursor};
use super::error::OpenError;
use super::quarantine;
use super::segment::{
    SEGMENT_HEADER_BYTES, Segment, SegmentHeader, decode_header, first_of, name_of,
};
use super::storage::{Storage, read_full};
use super::tail::{Gap, Tail, read_tail};
use super::tail_rewrite::settle;

/// Something that was on the disk and is not readable any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// First sequence, and so the name, of the segment.
    pub segment: u64,
    /// Where in the segment's file; empty if bytes are missing, not damaged.
    pub bytes: Range<u64>,
    /// The sequences that are lost and were not finished; may be empty.
    pub events: Range<u64>,
}

/// What was found when the log was opened.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// What need not be handled again. It has the numbers that are lost, too, so that its prefix can move on.
    pub finished: Finished,
    /// The sequence that the next event gets. Everything below is finished, or can be read, or turns out to be lost then.
    pub end: u64,
    /// Segments kept.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes behind the last whole record, or between records that were never acknowledged: a write that was not finished.
    pub torn_bytes: u64,
    /// Damage that was found so far.
    pub damaged: Vec<Damage>,
    /// Segments were there but no readable cursor: all that is kept is handled again.
    pub is_cursor_lost: bool,
}

/// What the log goes on with.
#[derive(Debug)]
pub(super) struct Recovery<F> {
    pub(super) recovered: Recovered,
    pub(super) segments: Vec<Segment>,
    pub(super) cursor: Cursor<F>,
}

/// Opens the directory behind `storage`.
pub(super) fn recover<S: Storage>(storage: &mut S) -> Result<Recovery<S::File>, OpenError> {
    let files = storage.list(None).map_err(OpenError::io("list the log"))?;
    // A disk that cannot be read now may be another time: nothing is settled without what is on it.
    let segments = read_headers(storage, &files, Err)?;
    let has_cursor = files.iter().any(|(name, _)| is_cursor(name));
    let (mut cursor, found) = Cursor::open(storage, has_cursor)?;
    let mut state = State::new(segments, &found);
    state.find_end(storage)?;
    state.report();
    cursor
        .write(storage, &state.finished, state.end)
        .and_then(|()| cursor.sync(storage))
        .map_err(OpenError::io("write the cursor"))?;
    storage
        .sync_directory()
        .map_err(OpenError::io("sync the log's directory"))?;
    Ok(Recovery {
        recovered: Recovered {
            finished: state.finished,
            end: state.end,
            segments: state.segments.len(),
            bytes: state.segments.iter().map(|segment| segment.bytes).sum(),
            torn_bytes: state.torn_bytes,
            damaged: state.damaged,
            is_cursor_lost: state.is_cursor_lost,
        },
        segments: state.segments,
        cursor,
    })
}

/// The segments in order, with what their headers say. What becomes of one that cannot be read, `unreadable` says: the error
/// that it gives back, or as many bytes as are taken for read.
pub(super) fn read_headers<S: Storage>(
    storage: &mut S,
    files: &[(String, u64)],
    unreadable: impl Fn(io::Error) -> io::Result<usize>,
) -> Result<Vec<Segment>, OpenError> {
    let mut segments = Vec::new();
    for (name, bytes) in files {
        let Some(first) = first_of(name) else {
            continue;
        };
        let file = storage
            .open(name)
            .map_err(OpenError::io(format!("open {name}")))?;
        let mut header = [0; SEGMENT_HEADER_BYTES];
        let filled = read_full(storage, &file, 0, &mut header)
            .or_else(&unreadable)
            .map_err(OpenError::io(format!("read {name}")))?;
        let created_ms = match decode_header(&header[..filled]) {
            SegmentHeader::Known { created_ms, .. } => created_ms,
            SegmentHeader::Newer { version } => {
                let name = name.clone();
                return Err(OpenError::NewerFormat { name, version });
            }
            SegmentHeader::Damaged => {
                tracing::warn!(
                    segment = name,
                    "the header of a segment is torn or damaged: its time is unknown, its records are read as others are"
                );
                0
            }
        };
        segments.push(Segment {
            first,
            bytes: *bytes,
            created_ms,
        });
    }
    segments.sort_by_key(|segment| segment.first);
    // What has lost its time is at least as new as the one before it.
    let mut newest_ms = 0;
    for segment in &mut segments {
        newest_ms = segment.created_ms.max(newest_ms);
        if segment.created_ms == 0 {
            segment.created_ms = newest_ms;
        }
    }
    Ok(segments)
}

struct State {
    segments: Vec<Segment>,
    finished: Finished,
    end: u64,
    /// Everything below was synced, as far as anything says.
    durable: u64,
    torn_bytes: u64,
    damaged: Vec<Damage>,
    is_cursor_lost: bool,
}

impl State {
    fn new(segments: Vec<Segment>, found: &FoundCursor) -> Self {
        let oldest = segments.first().map(|segment| segment.first);
        let (finished, durable) = match &found.state {
            Some(state) => (
                state.finished.clone(),
                state.synced.max(state.finished.end()),
            ),
            None => (Finished::below(oldest.unwrap_or(0)), 0),
        };
        let mut state = Self {
            finished,
            end: if planted!(EndForgotten) { 0 } else { durable },
            durable,
            torn_bytes: 0,
            damaged: Vec::new(),
            is_cursor_lost: found.state.is_none() && oldest.is_some(),
            segments,
        };
        if let Some(oldest) = oldest {
            // Segments that are gone.
            state.lose(oldest, 0..0, state.finished.prefix()..oldest);
        }
        state
    }

    /// Takes the lost sequences as finished; what was finished before is not lost to anybody.
    fn lose(&mut self, segment: u64, bytes: Range<u64>, events: Range<u64>) {
        if !self.finished.covers(events.clone()) || !bytes.is_empty() {
            self.damaged.push(Damage {
                segment,
                bytes,
                events: events.clone(),
            });
        }
        self.finished.insert(events);
    }

    /// Finds where the log ends, and leaves nothing behind that end.
    fn find_end<S: Storage>(&mut self, storage: &mut S) -> Result<(), OpenError> {
        while let Some(last) = self.segments.last().cloned() {
            let name = last.name();
            let file = storage
                .open(&name)
                .map_err(OpenError::io(format!("open {name}")))?;
            let tail = read_tail(storage, &file, &last, u64::MAX)
                .map_err(OpenError::io(format!("read {name}")))?;
            self.end = self.end.max(tail.end);
            self.durable = self.durable.max(tail.durable);
            let torn = self.judge(storage, &name, &file, &last, &tail);
            if !tail.records.is_empty() {
                let bytes = settle(storage, &file, &last, &tail, &torn, self.durable)
                    .map_err(OpenError::io(format!("cut {name} to its end and sync it")))?;
                self.segments
                    .last_mut()
                    .expect("the loop has found it")
                    .bytes = bytes;
                return Ok(());
            }
            if self.durable > last.first {
                // Its records were acknowledged, and none is left: it stays for whoever wants to look.
                return Ok(());
            }
            // Created, and nothing says that anything in it was ever acknowledged. What was written is torn, or it has
            // rotted before anything else was written: nobody can tell, so a copy stays.
            quarantine::keep(storage, &name, &file, tail.valid_bytes..tail.written_bytes);
            storage
                .remove(&name)
                .map_err(OpenError::io(format!("remove {name}")))?;
            self.segments.pop();
        }
        // Whatever was there is gone with the segments.
        self.lose(self.end, 0..0, self.finished.prefix()..self.end);
        Ok(())
    }

    /// Tells damaged from torn, which is given back: what lies below `durable` was acknowledged, or could have been.
    fn judge<S: Storage>(
        &mut self,
        storage: &mut S,
        name: &str,
        file: &S::File,
        segment: &Segment,
        tail: &Tail,
    ) -> Vec<Gap> {
        let mut torn = Vec::new();
        for void in &tail.voids {
            self.finished.insert(void.clone());
        }
        for gap in &tail.gaps {
            if gap.events.start < self.durable {
                if self.finished.covers(gap.events.clone()) && !gap.events.is_empty() {
                    continue;
                }
                quarantine::keep(storage, name, file, gap.bytes.clone());
                self.lose(segment.first, gap.bytes.clone(), gap.events.clone());
            } else {
                self.torn_bytes += gap.bytes.end - gap.bytes.start;
                self.finished.insert(gap.events.clone());
                torn.push(gap.clone());
            }
        }
        let rest = tail.valid_bytes..tail.written_bytes;
        if self.end > tail.end {
            quarantine::keep(storage, name, file, rest.clone());
            self.lose(segment.first, rest, tail.end..self.end);
        } else {
            self.torn_bytes += rest.end - rest.start;
        }
        torn
    }

    fn report(&self) {
        if self.is_cursor_lost {
            tracing::error!(
                from = self.finished.prefix(),
                "the log's cursor cannot be read: everything that is kept is handled again"
            );
        }
        for damage in &self.damaged {
            tracing::error!(
                segment = name_of(damage.segment),
                offset = damage.bytes.start,
                bytes = damage.bytes.end - damage.bytes.start,
                events = damage.events.end - damage.events.start,
                "the log is damaged: these events are lost"
            );
        }
        if self.torn_bytes > 0 {
            tracing::info!(
                bytes = self.torn_bytes,
                "an unfinished write at the end of the log is cut off"
            );
        }
    }
}
