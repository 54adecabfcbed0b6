//! The log: takes records, brings them to the disk, reads them again, and forgets what is finished.

use std::io::{self, IoSlice};
use std::time::Duration;

use veltrix_actors::Finished;

use super::active::Active;
use super::clock::Clock;
use super::creation::{CreateError, create};
use super::cursor::Cursor;
use super::error::{AppendError, OpenError, ReadError, Sealed};
use super::reader::{Next, Readable, Reader};
use super::record::{HEADER_BYTES, RECORD_BYTES_MAX, RECORD_EVENTS_MAX, RecordHeader, crc_of};
use super::recovery::{Recovered, recover};
use super::retention::{Retention, expired};
use super::segment::{SEGMENT_HEADER_BYTES, Segment, sequences_of};
use super::storage::{Storage, is_full, write_full};

/// How a log uses its disk.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of a segment. A record that is larger has a segment of its own.
    pub segment_bytes: u64,
    /// Finished segments are kept for replay as long as all segments together have no more bytes than this.
    pub retain_bytes: u64,
    /// And as long as they are no older than this.
    pub retain_age: Duration,
}

/// Numbered events on a disk, in records of 1 to [`RECORD_EVENTS_MAX`].
///
/// What is appended is durable once [`Log::sync`] has said so. After a write or a sync that failed the log is sealed: it
/// takes nothing more, because nobody knows what is in the file.
#[derive(Debug)]
pub struct Log<S: Storage, C: Clock> {
    storage: S,
    clock: C,
    options: Options,
    segments: Vec<Segment>,
    /// The last one of `segments`, while it takes records. One that an earlier process began never does.
    active: Option<Active<S::File>>,
    cursor: Cursor<S::File>,
    /// The first sequence that is not finished, as the cursor says that was written last.
    finished_prefix: u64,
    /// As that says that was synced last.
    synced_prefix: u64,
    /// The disk was too full to write the cursor.
    is_cursor_behind: bool,
    reader: Reader<S::File>,
    end: u64,
    synced: u64,
    sealed: Option<Sealed>,
}

impl<S: Storage, C: Clock> Log<S, C> {
    /// Opens the log in the directory behind `storage`, or begins one.
    ///
    /// # Errors
    /// The directory cannot be read or written, or a newer program wrote it. Damage is told in [`Recovered`] instead.
    pub fn open(
        mut storage: S,
        clock: C,
        options: Options,
    ) -> Result<(Self, Recovered), OpenError> {
        let recovery = recover(&mut storage)?;
        let recovered = recovery.recovered;
        let log = Self {
            storage,
            clock,
            options,
            segments: recovery.segments,
            active: None,
            cursor: recovery.cursor,
            finished_prefix: recovered.finished.prefix(),
            synced_prefix: recovered.finished.prefix(),
            is_cursor_behind: false,
            reader: Reader::default(),
            end: recovered.end,
            synced: recovered.end,
            sealed: None,
        };
        Ok((log, recovered))
    }

    /// What the log lies on.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// The sequence that the next event gets.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The sequence below which everything is on the disk.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Bytes of all segments, with what is reserved.
    pub fn bytes(&self) -> u64 {
        let sealed: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let reserved = self.active.as_ref().map_or(0, |active| active.capacity);
        let used = self.active.as_ref().map_or(0, |active| active.offset);
        sealed + reserved - used
    }

    /// About how many bytes there are of the events from the sequence `from` on.
    pub fn bytes_from(&self, from: u64) -> u64 {
        let bytes = self.segments.iter().enumerate().map(|(index, segment)| {
            let sequences = sequences_of(&self.segments, index, self.end);
            let wanted = sequences.end.saturating_sub(from.max(sequences.start));
            let all = u128::from(sequences.end.saturating_sub(sequences.start).max(1));
            let bytes = u128::from(segment.bytes) * u128::from(wanted) / all;
            u64::try_from(bytes).unwrap_or(segment.bytes)
        });
        bytes.sum()
    }

    /// The first sequence that is not finished, as the cursor says that was written last.
    pub fn finished_prefix(&self) -> u64 {
        self.finished_prefix
    }

    /// The sequence of the oldest event that may still be there.
    pub fn oldest(&self) -> u64 {
        self.segments
            .first()
            .map_or(self.end, |oldest| oldest.first)
    }

    /// Writes one record of `events` events, whose text is that of the `pieces` one after the other; the sequence of its
    /// first event. `tag` is given back with it. The pieces must be UTF-8 (not each, but all together).
    ///
    /// # Errors
    /// See [`AppendError`]; nothing is taken then.
    ///
    /// # Panics
    /// If `events` is not within 1 to [`RECORD_EVENTS_MAX`].
    pub fn append(&mut self, tag: &str, events: u32, pieces: &[&[u8]]) -> Result<u64, AppendError> {
        assert!(
            (1..=RECORD_EVENTS_MAX).contains(&events),
            "a record of {events} events"
        );
        self.check()?;
        let payload_bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let bytes = (HEADER_BYTES + tag.len()) as u64 + payload_bytes;
        let (Ok(tag_bytes), true) = (u16::try_from(tag.len()), bytes <= RECORD_BYTES_MAX) else {
            return Err(AppendError::TooLarge { bytes });
        };
        if !self.has_room(bytes) {
            self.begin_segment(bytes)?;
        }
        let body = || std::iter::once(tag.as_bytes()).chain(pieces.iter().copied());
        let header = RecordHeader {
            first: self.end,
            events,
            time_ms: self.clock.now_ms(),
            durable: match planted!(DurableTooHigh) {
                true => self.end,
                false => self.synced,
            },
            tag_bytes,
            payload_bytes: u32::try_from(payload_bytes).expect("RECORD_BYTES_MAX is less"),
            body_crc: crc_of(body()),
            is_void: false,
        };
        let encoded = header.encode();
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(pieces.len() + 2);
        slices.push(IoSlice::new(&encoded));
        slices.extend(body().map(IoSlice::new));
        let active = self.active.as_mut().expect("there is room in it");
        match write_full(&mut self.storage, &active.file, active.offset, &mut slices) {
            Ok(()) => {}
            // Room that was reserved can be missing all the same where a file system copies on write.
            Err(error) if is_full(&error) => {
                active.is_torn = true;
                return Err(full(&error));
            }
            Err(error) => return Err(self.seal("write a record", &error).into()),
        }
        active.offset += bytes;
        let segment = self.segments.last_mut().expect("the active one is there");
        segment.bytes = active.offset;
        self.end = header.end();
        if planted!(EarlyAck) {
            self.synced = self.end;
        }
        Ok(header.first)
    }

    /// Brings everything that was appended to the disk; the sequence below which that is so.
    ///
    /// # Errors
    /// It failed now or before.
    pub fn sync(&mut self) -> Result<u64, Sealed> {
        self.check()?;
        if let Some(active) = &mut self.active
            && active.is_dirty()
        {
            if std::mem::take(&mut active.is_torn) {
                // Once another segment follows, it would be taken for damage.
                active.capacity = active.offset;
                if let Err(error) = self.storage.truncate(&active.file, active.offset) {
                    return Err(self.seal("cut a segment", &error));
                }
            }
            if let Err(error) = active.zero_ahead(&mut self.storage) {
                return Err(self.seal("write zeros", &error));
            }
            if !planted!(SyncSkipped)
                && let Err(error) = self.storage.sync(&active.file)
            {
                return Err(self.seal("sync", &error));
            }
            active.synced_offset = active.offset;
            self.synced = self.end;
        }
        Ok(self.synced)
    }

    /// What there is at the sequence `from`, of what is synced: a record (whose first event may lie before it), with its
    /// payload in `payload`, or the sequences from there on that are lost. To read on where the last read ended is cheap.
    ///
    /// # Errors
    /// A segment cannot be opened.
    pub fn read(&mut self, from: u64, payload: &mut Vec<u8>) -> Result<Next, ReadError> {
        let last_bytes = match &self.active {
            Some(active) => active.synced_offset,
            None => self.segments.last().map_or(0, |last| last.bytes),
        };
        let log = Readable {
            segments: &self.segments,
            end: self.synced,
            last_bytes,
        };
        self.reader.read(&mut self.storage, &log, from, payload)
    }

    /// Writes down what is finished, and forgets segments that are finished and beyond what is to be retained. With
    /// `is_synced`, or if a segment goes, the cursor is on the disk before that. False if the disk is too full to write it
    /// down: a later call may find room.
    ///
    /// # Errors
    /// It failed now, and the log is sealed, or it was sealed before.
    pub fn persist(&mut self, finished: &Finished, is_synced: bool) -> Result<bool, Sealed> {
        self.check()?;
        self.try_persist(finished, is_synced)
            .map_err(|error| self.seal("write the cursor", &error))
    }

    fn try_persist(&mut self, finished: &Finished, is_synced: bool) -> io::Result<bool> {
        match self.cursor.write(&mut self.storage, finished, self.synced) {
            Ok(()) => self.is_cursor_behind = false,
            // Its room is reserved, but a file system that copies on write may need more.
            Err(error) if is_full(&error) => {
                if !std::mem::replace(&mut self.is_cursor_behind, true) {
                    tracing::warn!(%error, "the log's cursor cannot be written while the disk is full");
                }
                self.finished_prefix = self.synced_prefix;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        self.finished_prefix = finished.prefix();
        let retention = Retention {
            bytes: self.options.retain_bytes,
            age_ms: u64::try_from(self.options.retain_age.as_millis()).unwrap_or(u64::MAX),
        };
        let now_ms = self.clock.now_ms();
        let count = expired(&self.segments, self.finished_prefix, retention, now_ms);
        if is_synced || count > 0 && !planted!(UnlinkBeforeCursor) {
            self.sync_cursor()?;
        }
        self.forget(count)?;
        Ok(true)
    }

    fn sync_cursor(&mut self) -> io::Result<()> {
        self.cursor.sync(&mut self.storage)?;
        self.synced_prefix = self.finished_prefix;
        Ok(())
    }

    /// Removes the oldest `count` segments. What finished them is in the synced cursor.
    fn forget(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        for _ in 0..count {
            self.storage.remove(&self.segments[0].name())?;
            self.segments.remove(0);
        }
        self.storage.sync_directory()
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| active.offset + bytes <= active.capacity)
    }

    /// Puts a new segment behind the others, with room for a record of `record_bytes`.
    fn begin_segment(&mut self, record_bytes: u64) -> Result<(), AppendError> {
        // A segment's name says that everything before it is on the disk.
        if !planted!(RollWithoutSync) {
            self.sync()?;
        }
        let capacity = self
            .options
            .segment_bytes
            .max(SEGMENT_HEADER_BYTES as u64 + record_bytes);
        let segment = Segment {
            first: self.end,
            bytes: SEGMENT_HEADER_BYTES as u64,
            created_ms: self.clock.now_ms(),
        };
        let file = loop {
            match create(&mut self.storage, &segment, capacity) {
                Ok(file) => break file,
                Err(CreateError::Full(error)) => {
                    if !self.make_room()? {
                        return Err(full(&error));
                    }
                }
                Err(CreateError::Failed(error)) => {
                    return Err(self.seal("create a segment", &error).into());
                }
            }
        };
        if let Some(former) = &self.active
            && former.offset < former.capacity
            && let Err(error) = self.storage.truncate(&former.file, former.offset)
        {
            return Err(self.seal("cut a segment", &error).into());
        }
        self.active = Some(Active::new(file, segment.bytes, capacity));
        self.segments.push(segment);
        Ok(())
    }

    /// Removes the oldest segment if it is kept for replay only, be it the one that is full; whether it was.
    fn make_room(&mut self) -> Result<bool, Sealed> {
        let end_of_oldest = match self.segments.get(1) {
            Some(next) => next.first,
            None => self.end,
        };
        if self.segments.is_empty() || self.finished_prefix < end_of_oldest {
            return Ok(false);
        }
        match self.sync_cursor().and_then(|()| self.forget(1)) {
            Ok(()) => {
                if self.segments.is_empty() {
                    self.active = None;
                }
                Ok(true)
            }
            Err(error) => Err(self.seal("make room for a segment", &error)),
        }
    }

    fn check(&self) -> Result<(), Sealed> {
        match &self.sealed {
            Some(sealed) => Err(sealed.clone()),
            None => Ok(()),
        }
    }

    fn seal(&mut self, what: &str, error: &io::Error) -> Sealed {
        let sealed = Sealed {
            reason: format!("cannot {what}: {error}"),
        };
        tracing::error!(reason = sealed.reason, "the log is sealed");
        if !planted!(SyncTriedAgain) {
            self.sealed = Some(sealed.clone());
        }
        sealed
    }
}

fn full(error: &io::Error) -> AppendError {
    AppendError::Full {
        reason: error.to_string(),
    }
}
