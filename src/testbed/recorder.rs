//! A sink that writes down what comes to it.

use std::sync::{Arc, Mutex, PoisonError};

use super::compare::Came;
use veltrix_actors::{AnySink, Event, FlushError, Sink, SinkFactory, StartError};

/// Lines of events in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Record(
    // Shared and locked: a sink's actor writes it, and the test reads it once the tree has ended.
    Arc<Mutex<Vec<String>>>,
);

impl Record {
    /// What came so far.
    pub(super) fn came(&self) -> Result<Vec<Came>, String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().map(Came::read).collect()
    }

    fn extend(&self, lines: &[String]) {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.extend_from_slice(lines);
    }
}

/// Makes recorders.
pub(super) struct RecorderFactory {
    records: Vec<Record>,
}

impl RecorderFactory {
    /// Each event is written into each record.
    pub(super) fn new(records: Vec<Record>) -> Self {
        Self { records }
    }
}

impl SinkFactory for RecorderFactory {
    fn build(&self) -> Result<AnySink, StartError> {
        Ok(AnySink::Sync(Box::new(Recorder {
            records: self.records.clone(),
            appended: Vec::new(),
        })))
    }
}

struct Recorder {
    records: Vec<Record>,
    appended: Vec<String>,
}

impl Sink for Recorder {
    fn append(&mut self, event: &Event<'_>) -> Result<(), String> {
        self.appended.push(event.line().to_owned());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FlushError> {
        for record in &self.records {
            record.extend(&self.appended);
        }
        self.appended.clear();
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        self.appended.iter().map(String::len).sum()
    }
}
