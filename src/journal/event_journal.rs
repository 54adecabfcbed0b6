//! The log as the journal of accepted events: a batch is a record, its source the tag.

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use veltrix_actors::{
    EventBatch, Finished, Journal, JournalFactory, JournalFailure, JournalRefusal, StartError,
    Stored,
};

use super::{AppendError, DiskStorage, Log, Next, Options, SystemClock};
use crate::config::JournalConfig;

/// Runs of events that could not be read that the journal knows apart.
const UNREAD_RANGES_MAX: usize = 1_000;

/// Opens the journal in its folder.
pub(crate) struct DiskJournalFactory {
    folder: PathBuf,
    options: Options,
}

impl DiskJournalFactory {
    pub(crate) fn new(folder: PathBuf, config: &JournalConfig) -> Self {
        let options = Options {
            segment_bytes: config.segment_bytes,
            retain_bytes: config.retain_bytes,
            retain_age: config.retain_age,
        };
        Self { folder, options }
    }
}

impl JournalFactory for DiskJournalFactory {
    fn exists(&self) -> bool {
        self.folder.exists()
    }

    fn open(&self) -> Result<(Box<dyn Journal>, Finished), StartError> {
        let failed = |error: &dyn std::fmt::Display| {
            StartError(format!(
                "cannot open the journal in {}: {error}",
                self.folder.display()
            ))
        };
        if let Some(parent) = self.folder.parent() {
            // Each makes its own name last, so both are made by it.
            drop(DiskStorage::create(parent).map_err(|error| failed(&error))?);
        }
        let storage = DiskStorage::create(&self.folder).map_err(|error| failed(&error))?;
        let (log, recovered) =
            Log::open(storage, SystemClock, self.options).map_err(|error| failed(&error))?;
        if recovered.is_cursor_lost {
            tracing::error!(
                "the journal's cursor is damaged: all events that it keeps are handled again"
            );
        }
        for damage in &recovered.damaged {
            tracing::error!(
                segment = damage.segment,
                bytes = ?damage.bytes,
                events = ?damage.events,
                "the journal is damaged, the bytes are in its folder `quarantine`"
            );
        }
        if recovered.torn_bytes > 0 {
            tracing::info!(
                bytes = recovered.torn_bytes,
                "an unfinished write was cut off the journal"
            );
        }
        Ok((Box::new(DiskJournal::new(log)), recovered.finished))
    }
}

struct DiskJournal {
    log: Log<DiskStorage, SystemClock>,
    /// Events that could not be read, which says nothing of whether they are whole: never written down as finished, so that
    /// the next process tries again.
    unread: Vec<Range<u64>>,
}

impl DiskJournal {
    fn new(log: Log<DiskStorage, SystemClock>) -> Self {
        let unread = Vec::new();
        Self { log, unread }
    }

    /// Notes what could not be read, unless it is finished. Past the limit, what lies between it and the last of the others
    /// counts as unread as well: the next process handles it again.
    fn note_unread(&mut self, events: Range<u64>) {
        let events = events.start.max(self.log.finished_prefix())..events.end;
        let is_known = |known: &Range<u64>| known.start <= events.start && events.end <= known.end;
        if events.is_empty() || self.unread.iter().any(is_known) {
            return;
        }
        let is_full = self.unread.len() == UNREAD_RANGES_MAX;
        match self.unread.last_mut() {
            Some(last) if is_full || last.end == events.start => {
                *last = last.start.min(events.start)..last.end.max(events.end);
            }
            _ => self.unread.push(events),
        }
    }
}

/// What separates lines, and ends the last one.
const NEWLINE: &[u8] = b"\n";

impl Journal for DiskJournal {
    fn append(&mut self, source: &str, batch: &EventBatch) -> Result<u64, JournalRefusal> {
        let mut pieces = Vec::new();
        for run in batch.runs() {
            pieces.extend([run.as_bytes(), NEWLINE]);
        }
        let events = u32::try_from(batch.len()).expect("a batch holds few events");
        self.log
            .append(source, events, &pieces)
            .map_err(|error| match error {
                AppendError::Full { reason } => JournalRefusal::Full(reason),
                AppendError::TooLarge { .. } | AppendError::Sealed(_) => failure(&error).into(),
            })
    }

    fn sync(&mut self) -> Result<(), JournalFailure> {
        self.log.sync().map(drop).map_err(|error| failure(&error))
    }

    fn read(&mut self, mut from: u64) -> Result<Option<Stored>, JournalFailure> {
        loop {
            let mut payload = Vec::new();
            let failed_reads = self.log.storage().failed_reads();
            match self
                .log
                .read(from, &mut payload)
                .map_err(|error| failure(&error))?
            {
                Next::Record(record) => {
                    let lines = String::from_utf8(payload);
                    return Ok(Some(Stored {
                        first: record.first,
                        events: record.events as usize,
                        at: UNIX_EPOCH + Duration::from_millis(record.time_ms),
                        source: record.tag.into(),
                        lines: lines.map_err(|error| failure(&error))?,
                    }));
                }
                Next::Lost(events) => {
                    from = events.end;
                    if self.log.storage().failed_reads() > failed_reads {
                        self.note_unread(events);
                    }
                }
                Next::End => return Ok(None),
            }
        }
    }

    fn persist(&mut self, finished: &Finished, is_durable: bool) -> Result<bool, JournalFailure> {
        let readable;
        let finished = match self.unread.is_empty() {
            true => finished,
            false => {
                readable = finished.without(&self.unread);
                &readable
            }
        };
        self.log
            .persist(finished, is_durable)
            .map_err(|error| failure(&error))
    }

    fn oldest(&self) -> u64 {
        self.log.oldest()
    }

    fn end(&self) -> u64 {
        self.log.end()
    }

    fn unread_bytes(&self, from: u64) -> u64 {
        self.log.bytes_from(from)
    }
}

fn failure(error: &dyn std::fmt::Display) -> JournalFailure {
    JournalFailure(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::fs::{CWD, FileType, Mode};
    use veltrix_actors::Trial;

    use super::*;

    const OPTIONS: Options = Options {
        segment_bytes: 1_000,
        retain_bytes: u64::MAX,
        retain_age: Duration::MAX,
    };

    fn open(folder: &Path) -> (DiskJournal, Finished) {
        let storage = DiskStorage::create(folder).unwrap();
        let (log, recovered) = Log::open(storage, SystemClock, OPTIONS).unwrap();
        (DiskJournal::new(log), recovered.finished)
    }

    fn line(id: u32) -> String {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#)
    }

    /// A batch of the events of these ids.
    fn batch(ids: Range<u32>) -> EventBatch {
        let lines: Vec<String> = ids.map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        Trial::new("a", "a").batch(&lines).unwrap()
    }

    #[test]
    fn batches_come_back_with_their_source_and_are_forgotten_once_they_are_finished() {
        let parent = tempfile::tempdir().unwrap();
        let config = JournalConfig {
            segment_bytes: 200,
            backlog_bytes: 0,
            overflow_bytes: 0,
            retain_bytes: 0,
            retain_age: Duration::ZERO,
        };
        // Its folder is in one that is made with it.
        let folder = parent.path().join("data").join("journal");
        let factory = DiskJournalFactory::new(folder, &config);
        assert!(!factory.exists());
        let (mut journal, _) = factory.open().unwrap();
        assert!(factory.exists());
        assert_eq!(journal.append("shop", &batch(0..2)).unwrap(), 0);
        assert_eq!(journal.read(0).unwrap(), None);
        journal.sync().unwrap();
        assert_eq!(journal.append("store", &batch(2..5)).unwrap(), 2);
        journal.sync().unwrap();
        for (from, first, source, ids) in [(1, 0, "shop", 0..2), (2, 2, "store", 2..5)] {
            let stored = journal.read(from).unwrap().unwrap();
            assert_eq!((stored.first, &*stored.source), (first, source));
            assert_eq!(stored.events, ids.len());
            let lines: String = ids.map(|id| line(id) + "\n").collect();
            assert_eq!(stored.lines, lines);
            assert!(stored.at > UNIX_EPOCH + Duration::from_secs(1_600_000_000));
        }
        assert_eq!((journal.oldest(), journal.end()), (0, 5));
        let bytes = [0, 2, 5].map(|from| journal.unread_bytes(from));
        assert!(
            bytes[0] > bytes[1] && bytes[1] > bytes[2] && bytes[2] == 0,
            "{bytes:?}"
        );
        assert!(journal.persist(&Finished::below(4), false).unwrap());
        assert_eq!(journal.oldest(), 2);
        drop(journal);
        let (journal, finished) = factory.open().unwrap();
        assert_eq!((finished, journal.end()), (Finished::below(4), 5));
    }

    #[test]
    fn what_could_not_be_read_is_noted_once_in_runs() {
        let parent = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(&parent.path().join("journal"));
        for events in [3..5, 5..6, 8..9, 3..6, 4..5, 8..9, 9..9] {
            journal.note_unread(events);
        }
        assert_eq!(journal.unread, [3..6, 8..9]);
    }

    /// The number of the next event that is read from `from` on.
    fn next(journal: &mut DiskJournal, from: u64) -> u64 {
        let stored = journal.read(from).unwrap();
        stored.expect("there are more").first
    }

    /// Reads from a pipe fail at any offset.
    fn replace_by_pipe(segment: &Path) {
        std::fs::rename(segment, segment.with_extension("away")).unwrap();
        rustix::fs::mknodat(CWD, segment, FileType::Fifo, Mode::RWXU, 0).unwrap();
    }

    #[test]
    fn what_could_not_be_read_comes_again_and_what_was_finished_before_does_not() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("journal");
        let (mut journal, _) = open(&folder);
        // Two a segment.
        for _ in 0..12 {
            journal.log.append("shop", 1, &[&[b'x'; 400]]).unwrap();
        }
        journal.sync().unwrap();
        assert!(journal.persist(&Finished::below(3), true).unwrap());
        let segments = [0, 2, 8].map(|first| folder.join(super::super::segment::name_of(first)));
        segments.iter().for_each(|segment| replace_by_pipe(segment));
        for _ in 0..2 {
            // Replays read what is finished, too, and again.
            assert_eq!(next(&mut journal, 0), 4);
            assert_eq!(next(&mut journal, 8), 10);
        }
        assert_eq!(journal.unread, [3..4, 8..10]);
        assert!(journal.persist(&Finished::below(12), true).unwrap());
        drop(journal);
        for segment in &segments {
            std::fs::rename(segment.with_extension("away"), segment).unwrap();
        }
        let (mut journal, finished) = open(&folder);
        assert_eq!((finished.prefix(), next(&mut journal, 3)), (3, 3));
        assert_eq!(finished.ranges().collect::<Vec<_>>(), [4..8, 10..12]);
    }

    #[test]
    fn what_is_damaged_is_lost_and_does_not_come_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("journal");
        let (mut journal, _) = open(&folder);
        for _ in 0..4 {
            journal.log.append("shop", 1, &[&[b'x'; 400]]).unwrap();
        }
        journal.sync().unwrap();
        let segment = folder.join(super::super::segment::name_of(0));
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
        assert_eq!(next(&mut journal, 0), 1);
        assert!(journal.unread.is_empty());
        assert!(journal.persist(&Finished::below(4), true).unwrap());
        drop(journal);
        assert_eq!(open(&folder).1, Finished::below(4));
    }

    #[test]
    fn past_the_limit_what_could_not_be_read_is_one_run() {
        let parent = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(&parent.path().join("journal"));
        for number in 0..2_000 {
            journal.note_unread(number * 2..number * 2 + 1);
        }
        journal.note_unread(5..6);
        assert_eq!(journal.unread.len(), UNREAD_RANGES_MAX);
        assert_eq!(journal.unread[..2], [0..1, 2..3]);
        assert_eq!(journal.unread.last(), Some(&(5..3_999)));
    }
}
