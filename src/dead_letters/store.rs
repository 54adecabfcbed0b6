//! The store: appends to the log, finds by the index, writes down what is gone, and moves what stays out of the log's way.

mod room;

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use veltrix_actors::{
    DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterQuery, DeadLetterStore, JournalFailure,
    JournalRefusal, StartError, TypeCache, detached_types,
};

use super::index::{Candidate, Index};
use super::record::{GONE, LETTERS, decode, decode_gone, encode, encode_gone};
use crate::journal::{AppendError, DiskStorage, Log, Next, Options, SystemClock};

/// The folder in the data directory.
pub(crate) const FOLDER: &str = "dead-letters";

/// Bytes of a segment, at most and at least.
const SEGMENT_BYTES_MAX: u64 = 16 << 20;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// A segment is such a part of what the store may take.
const SEGMENT_DIVISOR: u64 = 8;
/// Records that are looked through before others have their turn.
const RECORDS_PER_TURN_MAX: usize = 64;
/// Numbers in one record that says what is gone.
const GONE_PER_RECORD_MAX: usize = 10_000;
/// Bytes of the dead letters on one page.
const PAGE_BYTES_MAX: usize = 16 << 20;
/// Dead letters that are read at a time for a page: all of them are in memory, however large they are.
const READ_FOR_PAGE_MAX: usize = 64;
/// Backtraces that are kept in memory: their symbols are looked up when one is shown, and nowhere else.
const BACKTRACES_KEPT_MAX: usize = 256;

/// Dead letters in a log of their own.
///
/// Each lies at a position of the log; its number is one more than the first position that it had. A dead letter that
/// stays is moved to the log's end now and then, so that the segments before it can go.
pub(crate) struct DiskDeadLetters {
    log: Log<DiskStorage, SystemClock>,
    index: Index,
    types: TypeCache,
    bytes_max: u64,
    /// The index has everything that is synced below this.
    scanned: u64,
    is_scanned: bool,
    /// Appended and not synced yet.
    pending: Vec<(u64, Arc<DeadLetter>)>,
    /// The record read last: many are read one after the other.
    read: Option<ReadRecord>,
    /// The newest ones that have a backtrace.
    traced: VecDeque<Arc<DeadLetter>>,
    is_full: bool,
    is_tidy: bool,
}

/// The positions of a record, and its dead letters; none in the place of one that is damaged.
type ReadRecord = (Range<u64>, Vec<Option<Arc<DeadLetter>>>);

impl DiskDeadLetters {
    /// Opens the store in `folder`, which may take so many bytes.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub(crate) fn open(folder: &Path, bytes_max: u64) -> Result<Self, StartError> {
        let failed = |error: &dyn std::fmt::Display| {
            let folder = folder.display();
            StartError(format!("cannot open the dead letters in {folder}: {error}"))
        };
        let options = Options {
            segment_bytes: (bytes_max / SEGMENT_DIVISOR)
                .clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            retain_bytes: 0,
            retain_age: Duration::ZERO,
        };
        let storage = DiskStorage::create(folder).map_err(|error| failed(&error))?;
        let (log, recovered) =
            Log::open(storage, SystemClock, options).map_err(|error| failed(&error))?;
        Ok(Self {
            log,
            index: Index::default(),
            types: detached_types(),
            bytes_max,
            scanned: recovered.finished.prefix(),
            is_scanned: false,
            pending: Vec::new(),
            read: None,
            traced: VecDeque::new(),
            is_full: false,
            is_tidy: true,
        })
    }

    /// Looks one record through; false at the end of what is synced.
    fn scan(&mut self) -> Result<bool, JournalFailure> {
        let mut payload = Vec::new();
        match self.log.read(self.scanned, &mut payload).map_err(failure)? {
            Next::End => {
                self.index.settle();
                self.is_scanned = true;
                return Ok(false);
            }
            Next::Lost(positions) => self.scanned = positions.end,
            Next::Record(record) => {
                let text = String::from_utf8(payload).map_err(failure)?;
                let from = self.scanned;
                self.scanned = record.sequences().end;
                match record.tag.as_str() {
                    LETTERS => {
                        let letters = (record.first..).zip(decode(&text, &mut self.types));
                        for (position, letter) in letters.filter(|(at, _)| *at >= from) {
                            match letter {
                                Ok(letter) => self.index.insert(&letter, position),
                                Err(error) => {
                                    tracing::error!(position, error, "a dead letter is unreadable");
                                }
                            }
                        }
                    }
                    GONE => {
                        let ranges = decode_gone(&text).map_err(failure)?;
                        for (start, end) in ranges {
                            self.index.remove(start, end);
                        }
                    }
                    tag => tracing::error!(tag, "dead letters have a record of a newer program"),
                }
            }
        }
        Ok(true)
    }

    /// The dead letter at that position.
    fn read(&mut self, position: u64) -> Result<Option<Arc<DeadLetter>>, JournalFailure> {
        let is_it = |read: &ReadRecord| read.0.contains(&position);
        if !self.read.as_ref().is_some_and(is_it) {
            let mut payload = Vec::new();
            let Next::Record(record) = self.log.read(position, &mut payload).map_err(failure)?
            else {
                return Ok(None);
            };
            let text = String::from_utf8(payload).map_err(failure)?;
            let letters = decode(&text, &mut self.types).map(|letter| letter.ok().map(Arc::new));
            self.read = Some((record.sequences(), letters.collect()));
        }
        let (positions, letters) = self.read.as_ref().expect("it was just read");
        let index = position.checked_sub(positions.start);
        let letter = index.and_then(|index| letters.get(usize::try_from(index).ok()?));
        Ok(letter.cloned().flatten())
    }

    /// Reads candidates in the log's order, and gives those that are wanted back in theirs.
    fn wanted(
        &mut self,
        candidates: Vec<Candidate>,
        filter: &DeadLetterFilter,
    ) -> Result<Vec<Arc<DeadLetter>>, JournalFailure> {
        let mut places: Vec<(usize, u64)> = candidates
            .iter()
            .map(|candidate| candidate.position)
            .enumerate()
            .collect();
        places.sort_unstable_by_key(|(_, position)| *position);
        let mut found = vec![None; candidates.len()];
        for (index, position) in places {
            let letter = self.read(position)?;
            found[index] = letter.filter(|letter| filter.matches(letter));
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn write(&mut self, tag: &str, count: usize, text: &[u8]) -> Result<u64, AppendError> {
        let count = u32::try_from(count).expect("a batch holds few events");
        self.log.append(tag, count, &[text])
    }

    /// Syncs the log, and has the index know what was appended.
    fn keep(&mut self) -> Result<(), JournalFailure> {
        self.log.sync().map_err(failure)?;
        for (position, letter) in std::mem::take(&mut self.pending) {
            // Otherwise the scan comes by.
            if self.is_scanned {
                self.index.insert(&letter, position);
            }
        }
        Ok(())
    }
}

impl DeadLetterStore for DiskDeadLetters {
    fn append(
        &mut self,
        mut letters: Vec<DeadLetter>,
    ) -> Result<Vec<Arc<DeadLetter>>, JournalRefusal> {
        let first = self.log.end();
        let mut text = Vec::new();
        for (position, letter) in (first..).zip(&mut letters) {
            letter.sequence = position + 1;
            encode(letter, &mut text);
        }
        let bytes = self.log.bytes_from(0) + text.len() as u64;
        // An empty one takes what is larger than it may be, or that would never end.
        if bytes > self.bytes_max && (self.index.len() > 0 || !self.is_scanned) {
            self.note_full();
            let max = self.bytes_max;
            let reason = format!(
                "they would take {bytes} bytes, more than `dead_letters.max_on_disk`, {max}"
            );
            return Err(JournalRefusal::Full(reason));
        }
        match self.write(LETTERS, letters.len(), &text) {
            Ok(_) => {}
            Err(AppendError::Full { reason }) => {
                self.note_full();
                return Err(JournalRefusal::Full(reason));
            }
            Err(error) => return Err(failure(error).into()),
        }
        self.is_full = false;
        let letters: Vec<Arc<DeadLetter>> = letters.into_iter().map(Arc::new).collect();
        for letter in &letters {
            if letter.failure.backtrace.is_some() {
                self.traced.truncate(BACKTRACES_KEPT_MAX - 1);
                self.traced.push_front(Arc::clone(letter));
            }
        }
        self.pending.extend((first..).zip(letters.iter().cloned()));
        Ok(letters)
    }

    fn sync(&mut self) -> Result<usize, JournalFailure> {
        self.keep()?;
        // None ever goes for a newer one.
        Ok(0)
    }

    fn prepare(&mut self) -> Result<bool, JournalFailure> {
        for _ in 0..RECORDS_PER_TURN_MAX {
            if !self.scan()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn page(&mut self, query: &DeadLetterQuery) -> Result<DeadLetterPage, JournalFailure> {
        let mut page = DeadLetterPage {
            kept: self.index.len(),
            ..DeadLetterPage::default()
        };
        let (mut before, mut bytes) = (query.before, 0);
        loop {
            // One more than is wanted, to know whether there is one.
            let count = (query.limit + 1 - page.letters.len()).min(READ_FOR_PAGE_MAX);
            let candidates = self.index.candidates(&query.filter, before).take(count);
            let candidates: Vec<Candidate> = candidates.collect();
            let Some(last) = candidates.last() else {
                return Ok(page);
            };
            before = Some(last.sequence);
            for letter in self.wanted(candidates, &query.filter)? {
                bytes += letter.bytes();
                let is_full = bytes > PAGE_BYTES_MAX && !page.letters.is_empty();
                if page.letters.len() == query.limit || is_full {
                    page.has_more = true;
                    return Ok(page);
                }
                page.letters.push(letter);
            }
        }
    }

    fn get(&mut self, sequence: u64) -> Result<Option<Arc<DeadLetter>>, JournalFailure> {
        let Some(position) = self.index.position(sequence) else {
            return Ok(None);
        };
        let mut traced = self.traced.iter();
        match traced.find(|letter| letter.sequence == sequence) {
            Some(letter) => Ok(Some(Arc::clone(letter))),
            None => self.read(position),
        }
    }

    fn select(&mut self, filter: &DeadLetterFilter) -> Result<Vec<u64>, JournalFailure> {
        let candidates: Vec<Candidate> = self.index.candidates(filter, None).rev().collect();
        let mut wanted = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let is_wanted = match candidate.is_doubtful {
                true => self
                    .read(candidate.position)?
                    .is_some_and(|letter| filter.matches(&letter)),
                false => true,
            };
            if is_wanted {
                wanted.push(candidate.sequence);
            }
        }
        Ok(wanted)
    }

    fn branch(&mut self, sequence: u64) -> Option<Arc<str>> {
        match self.index.branch(sequence)? {
            Ok(branch) => Some(branch.into()),
            Err(position) => {
                let letter = self.read(position).ok()??;
                Some(Arc::clone(&letter.failure.branch))
            }
        }
    }

    fn remove(&mut self, sequences: &[u64]) -> Result<usize, JournalRefusal> {
        let mut gone: Vec<u64> = sequences.to_vec();
        gone.retain(|sequence| self.index.position(*sequence).is_some());
        gone.sort_unstable();
        gone.dedup();
        if gone.is_empty() {
            return Ok(0);
        }
        for part in gone.chunks(GONE_PER_RECORD_MAX) {
            match self.write(GONE, 1, encode_gone(part).as_bytes()) {
                Ok(_) => {}
                Err(AppendError::Full { reason }) => {
                    // The cursor, whose room is reserved, can say it as well if nothing that stays lies before what goes.
                    let is_gone = |sequence: u64| gone.binary_search(&sequence).is_ok();
                    let last = gone
                        .iter()
                        .filter_map(|gone| self.index.position(*gone))
                        .max();
                    let stays = self.index.first_position(|sequence| !is_gone(sequence));
                    if stays.is_some_and(|stays| last.is_some_and(|last| stays < last)) {
                        return Err(JournalRefusal::Full(reason));
                    }
                    self.keep()?;
                    let prefix = stays.unwrap_or_else(|| self.log.synced());
                    if !self.persist(prefix, true)? {
                        return Err(JournalRefusal::Full(reason));
                    }
                    break;
                }
                Err(error) => return Err(failure(error).into()),
            }
        }
        self.keep()?;
        for sequence in &gone {
            self.index.remove(*sequence, sequence + 1);
        }
        self.traced
            .retain(|letter| gone.binary_search(&letter.sequence).is_err());
        self.is_tidy = false;
        Ok(gone.len())
    }

    fn tidy(&mut self) -> Result<(), JournalFailure> {
        if !self.is_scanned || self.is_tidy {
            return Ok(());
        }
        self.is_tidy = self.persist(self.first_needed(), false)?;
        if self.is_wasteful(self.first_needed()) && self.move_on()? {
            self.is_tidy = false;
            self.persist(self.first_needed(), false)?;
        }
        Ok(())
    }

    fn kept(&self) -> usize {
        self.index.len()
    }

    fn bytes_used(&self) -> u64 {
        self.log.bytes_from(0)
    }
}

fn failure(error: impl std::fmt::Display) -> JournalFailure {
    JournalFailure(error.to_string())
}

#[cfg(test)]
mod tests;
