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
                        self.unread.push(events);
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
