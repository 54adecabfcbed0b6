//! `sync: interval`: a thread that brings what was written to the disk about once a second.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);
/// Files that were written to and that the thread has not taken note of; more make the sink wait for it.
const WAITING_MAX: usize = 1024;

/// Syncs the files given to it. Dropping it syncs the rest and waits for that.
#[derive(Debug)]
pub(super) struct Syncer {
    /// None only while it is being dropped.
    written: Option<SyncSender<Arc<File>>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread for it.
    pub(super) fn start() -> io::Result<Self> {
        let (written, incoming) = mpsc::sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("file-sync".to_owned())
            .spawn(move || run(&incoming))?;
        Ok(Self {
            written: Some(written),
            thread: Some(thread),
        })
    }

    /// Has `file` synced within about a second.
    pub(super) fn written(&self, file: &Arc<File>) {
        let sent = self.written.as_ref().map(|to| to.send(Arc::clone(file)));
        if matches!(sent, Some(Err(_))) {
            tracing::error!("the thread that syncs files is gone");
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        // Without a sender the thread sees the end.
        self.written = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that syncs files panicked");
        }
    }
}

fn run(incoming: &Receiver<Arc<File>>) {
    let mut files: Vec<Arc<File>> = Vec::new();
    let mut due = None;
    loop {
        let received = match due {
            None => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => {
                incoming.recv_timeout(Instant::saturating_duration_since(&due, Instant::now()))
            }
        };
        match received {
            Ok(file) => {
                due.get_or_insert_with(|| Instant::now() + INTERVAL);
                if !files.iter().any(|known| Arc::ptr_eq(known, &file)) {
                    files.push(file);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                due = None;
                sync(&mut files);
            }
            Err(RecvTimeoutError::Disconnected) => return sync(&mut files),
        }
    }
}

/// A sync that fails is not tried again: the kernel has already dropped what it could not write.
fn sync(files: &mut Vec<Arc<File>>) {
    for file in files.drain(..) {
        if let Err(error) = file.sync_data() {
            tracing::error!(%error, ?file, "cannot sync a file: events written in the last second may be lost in a power cut");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_go_of_every_file_once_it_is_synced() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let syncer = Syncer::start().unwrap();
        for _ in 0..3 {
            syncer.written(&file);
        }
        drop(syncer);
        assert_eq!(Arc::strong_count(&file), 1);
    }
}
