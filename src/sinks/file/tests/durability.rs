//! When written events count as done, with a disk that is told when to fail and when to go on.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use veltrix_actors::{AnySink, FlushError, Sink, SinkFactory, SinkStats, Trial, Written};

use super::super::disk::{Disk, UNSYNCED_FILES_MAX};
use super::super::{FileFactory, prepare};
use super::{append_all, batch, event, options};

/// Fails when it is told to, and notes what it was asked for.
#[derive(Debug, Default)]
struct Told {
    /// Whether the next syncs of files fail; those after them work.
    failures: Mutex<VecDeque<bool>>,
    files: Mutex<usize>,
    directories: Mutex<Vec<PathBuf>>,
    gate: Option<Mutex<Gate>>,
    /// Hears from where to where a file is brought to the disk ahead of its sync.
    write_backs: Option<SyncSender<(u64, u64)>>,
    /// Set by the first sync, as another thread may do meanwhile.
    suspicion: Mutex<Option<Arc<AtomicBool>>>,
}

/// Says when a sync begins, and has it wait until it may go on.
#[derive(Debug)]
struct Gate {
    begun: SyncSender<()>,
    goes_on: Receiver<()>,
}

impl Told {
    fn failing(failures: impl IntoIterator<Item = bool>) -> Arc<Self> {
        Arc::new(Self {
            failures: Mutex::new(failures.into_iter().collect()),
            ..Self::default()
        })
    }

    fn files(&self) -> usize {
        *self.files.lock().unwrap()
    }
}

impl Disk for Told {
    fn sync_file(&self, _: &File) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            let gate = gate.lock().unwrap();
            gate.begun.send(()).unwrap();
            gate.goes_on.recv().unwrap();
        }
        if let Some(suspicion) = self.suspicion.lock().unwrap().take() {
            suspicion.store(true, Ordering::Release);
        }
        *self.files.lock().unwrap() += 1;
        match self.failures.lock().unwrap().pop_front() {
            Some(true) => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }

    fn begin_write_back(&self, _: &File, offset: u64, bytes: NonZeroU64) {
        if let Some(write_backs) = &self.write_backs {
            write_backs.send((offset, offset + bytes.get())).unwrap();
        }
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.directories.lock().unwrap().push(path.to_owned());
        Ok(())
    }
}

/// Sinks to one file, or as many as there are types, over the same disk.
struct Factory(FileFactory, PathBuf);

impl Factory {
    fn new(dir: &Path, sync: &str, disk: &Arc<Told>) -> Self {
        let path = dir.join("out/{type}");
        let json = format!(r#"{{"path":"{}","sync":"{sync}"}}"#, path.display());
        let mut factory = prepare(options(&json), "ledger").unwrap();
        factory.syncing.disk = Arc::clone(disk) as Arc<dyn Disk>;
        Self(factory, dir.join("out"))
    }

    fn build(&self) -> Box<dyn Sink> {
        match self.0.build().unwrap() {
            AnySink::Sync(sink) => sink,
            AnySink::Async(_) => panic!("files are written at once"),
        }
    }

    fn lines(&self, event_type: &str) -> usize {
        let text = fs::read_to_string(self.1.join(event_type)).unwrap();
        text.lines().count()
    }
}

fn written(lines: &[String]) -> (Written, Arc<SinkStats>) {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    Trial::new("s", "h").written(&lines).unwrap()
}

/// Has the sink write and answer for one event.
fn write(sink: &mut dyn Sink, event_type: &str) -> Arc<SinkStats> {
    let line = [event(event_type, "/s", 1)];
    append_all(sink, &batch(&line));
    sink.flush().unwrap();
    let (written, stats) = written(&line);
    sink.written(written);
    stats
}

fn is_done(stats: &SinkStats) -> bool {
    stats.delivered.get() == 1
}

#[test]
fn always_syncs_files_and_the_directories_of_new_ones_with_each_flush() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Told::failing([]);
    let factory = Factory::new(dir.path(), "always", &disk);
    let mut sink = factory.build();
    assert!(is_done(&write(&mut *sink, "a")));
    assert_eq!(disk.files(), 1);
    let mut directories = std::mem::take(&mut *disk.directories.lock().unwrap());
    directories.sort();
    assert_eq!(directories, [dir.path(), &dir.path().join("out")]);
    assert!(is_done(&write(&mut *sink, "a")));
    assert_eq!(disk.files(), 2);
    assert!(disk.directories.lock().unwrap().is_empty());
}

#[test]
fn always_writes_again_what_a_failed_sync_may_have_lost() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Told::failing([true]);
    let factory = Factory::new(dir.path(), "always", &disk);
    let mut sink = factory.build();
    let lines = [event("a", "/s", 1)];
    append_all(&mut *sink, &batch(&lines));
    let error = sink.flush().unwrap_err();
    assert!(matches!(&error, FlushError::Unsafe(reason) if reason.contains("out/a`")));
    // What the sink's actor does then.
    let mut next = factory.build();
    append_all(&mut *next, &batch(&lines));
    next.flush().unwrap();
    assert_eq!((factory.lines("a"), disk.files()), (2, 2));
}

#[test]
fn never_is_done_once_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Told::failing([]);
    let factory = Factory::new(dir.path(), "never", &disk);
    assert!(is_done(&write(&mut *factory.build(), "a")));
    assert_eq!((factory.lines("a"), disk.files()), (1, 0));
}

/// A disk that waits to be let go on.
fn gated(failures: impl IntoIterator<Item = bool>) -> (Arc<Told>, Receiver<()>, SyncSender<()>) {
    let (begun, has_begun) = sync_channel(0);
    let (go_on, goes_on) = sync_channel(0);
    let disk = Told {
        failures: Mutex::new(failures.into_iter().collect()),
        gate: Some(Mutex::new(Gate { begun, goes_on })),
        ..Told::default()
    };
    (Arc::new(disk), has_begun, go_on)
}

#[test]
fn interval_writes_on_during_a_sync_and_is_done_after_the_one_that_covers_it() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, has_begun, go_on) = gated([]);
    let factory = Factory::new(dir.path(), "interval", &disk);
    let mut sink = factory.build();
    let first = write(&mut *sink, "a");
    assert!(!is_done(&first));
    sink.hurry();
    has_begun.recv().unwrap();
    let second = write(&mut *sink, "a");
    assert!(!is_done(&first));
    go_on.send(()).unwrap();
    // The next round begins by itself, a second later, once the first one is done with.
    has_begun.recv().unwrap();
    assert!(is_done(&first) && !is_done(&second));
    let ending = std::thread::spawn(move || go_on.send(()));
    // The end of a sink waits for what it has written.
    drop(sink);
    assert!(is_done(&second));
    ending.join().unwrap().unwrap();
}

#[test]
fn interval_begins_to_bring_a_file_to_the_disk_before_the_round() {
    let dir = tempfile::tempdir().unwrap();
    let (write_backs, begun) = sync_channel(64);
    let disk = Arc::new(Told {
        write_backs: Some(write_backs),
        ..Told::default()
    });
    let factory = Factory::new(dir.path(), "interval", &disk);
    let mut sink = factory.build();
    let large = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/s","type":"a","data":"{}"}}"#,
        "x".repeat(200 * 1024)
    );
    // Again only if a round came in between.
    let piece = loop {
        for _ in 0..6 {
            append_all(&mut *sink, &batch(std::slice::from_ref(&large)));
            sink.flush().unwrap();
            sink.written(written(std::slice::from_ref(&large)).0);
        }
        if let Ok(piece) = begun.recv_timeout(Duration::from_secs(1)) {
            break piece;
        }
    };
    assert!(piece.1 > piece.0, "{piece:?}");
    drop(sink);
    assert!(disk.files() > 0);
}

#[test]
fn interval_doubts_what_a_failed_sync_covers_and_what_was_written_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, has_begun, go_on) = gated([true, true]);
    let factory = Factory::new(dir.path(), "interval", &disk);
    let mut sink = factory.build();
    let first = write(&mut *sink, "a");
    sink.hurry();
    has_begun.recv().unwrap();
    let meanwhile = write(&mut *sink, "a");
    go_on.send(()).unwrap();
    // Ends the thread after it has failed.
    drop(sink);
    assert_eq!(first.delivered.get() + meanwhile.delivered.get(), 0);
    assert_eq!(first.in_doubt.get() + meanwhile.in_doubt.get(), 2);
    // From now on the flush itself syncs, and what fails is written again instead of being doubted.
    let mut sink = factory.build();
    let lines = [event("a", "/s", 2)];
    append_all(&mut *sink, &batch(&lines));
    let letting = std::thread::spawn(move || {
        for _ in 0..2 {
            has_begun.recv().unwrap();
            go_on.send(()).unwrap();
        }
        (has_begun, go_on)
    });
    assert!(matches!(sink.flush(), Err(FlushError::Unsafe(_))));
    let mut sink = factory.build();
    append_all(&mut *sink, &batch(&lines));
    sink.flush().unwrap();
    let (written, stats) = written(&lines);
    sink.written(written);
    assert!(is_done(&stats));
    let (has_begun, go_on) = letting.join().unwrap();
    // And once that has worked, the thread does it again.
    let last = write(&mut *sink, "a");
    assert!(!is_done(&last));
    sink.hurry();
    has_begun.recv().unwrap();
    go_on.send(()).unwrap();
    drop(sink);
    assert!(is_done(&last));
}

#[test]
fn a_sync_that_fails_while_others_are_written_has_them_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Told::failing([]);
    let factory = Factory::new(dir.path(), "interval", &disk);
    *disk.suspicion.lock().unwrap() = Some(Arc::clone(&factory.0.syncing.is_suspect));
    let mut sink = factory.build();
    let lines: Vec<String> = (0..2 * UNSYNCED_FILES_MAX)
        .map(|id| event(&format!("t{id}"), "/s", id))
        .collect();
    append_all(&mut *sink, &batch(&lines));
    assert!(matches!(sink.flush(), Err(FlushError::Unsafe(_))));
}

#[test]
fn a_sync_that_fails_after_others_were_flushed_has_them_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Told::failing([]);
    let factory = Factory::new(dir.path(), "interval", &disk);
    let mut sink = factory.build();
    let lines = [event("a", "/s", 1)];
    append_all(&mut *sink, &batch(&lines));
    sink.flush().unwrap();
    // The thread finds out between a flush and the word that it worked.
    let is_suspect = Arc::clone(&factory.0.syncing.is_suspect);
    is_suspect.store(true, Ordering::Release);
    let (written, stats) = written(&lines);
    sink.written(written);
    assert_eq!((stats.delivered.get(), stats.in_doubt.get()), (0, 1));
}

#[test]
fn many_files_are_synced_before_too_many_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Told::failing([]);
    let factory = Factory::new(dir.path(), "interval", &disk);
    let mut sink = factory.build();
    let types = 2 * UNSYNCED_FILES_MAX;
    let lines: Vec<String> = (0..types)
        .map(|id| event(&format!("t{id}"), "/s", id))
        .collect();
    append_all(&mut *sink, &batch(&lines));
    sink.flush().unwrap();
    let synced = disk.files();
    assert!(synced + UNSYNCED_FILES_MAX >= types, "{synced}");
    let (written, stats) = written(&lines);
    sink.written(written);
    drop(sink);
    assert_eq!(stats.delivered.get(), types as u64);
    assert_eq!(disk.files(), types);
}

#[test]
fn a_failed_sync_in_the_middle_of_a_flush_has_all_of_it_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Told::failing([true]);
    let factory = Factory::new(dir.path(), "interval", &disk);
    let mut sink = factory.build();
    let lines: Vec<String> = (0..2 * UNSYNCED_FILES_MAX)
        .map(|id| event(&format!("t{id}"), "/s", id))
        .collect();
    append_all(&mut *sink, &batch(&lines));
    assert!(matches!(sink.flush(), Err(FlushError::Unsafe(_))));
    let mut sink = factory.build();
    append_all(&mut *sink, &batch(&lines));
    sink.flush().unwrap();
    assert_eq!(factory.lines("t0"), 2);
}
