//! `sync: interval`: a thread that brings what was written to the disk about once a second, and only then reports it done.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use veltrix_actors::Written;

use super::disk::{Disk, OutputFile, Unsynced};

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);
/// Bytes written that wait for a round; with more, it begins at once. The sources that they came from wait for it, too.
const UNSYNCED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Intakes of sources that wait for a round; each takes some memory. With more, it begins at once.
const UNSYNCED_INTAKES_MAX: usize = 16 * 1024;
/// Bytes written after which the files begin to go to the disk, ahead of the round. A sync that brings a second's worth at once
/// would hold up others that sync to the same disk, such as the journal, for as long as that takes.
const WRITE_BACK_BYTES: usize = 1024 * 1024;
/// How often somebody who waits for a round looks whether the thread lives.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Syncs what is given to it. Dropping it syncs the rest and waits for that.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    /// None only while it is being dropped.
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    // Locked by the sink and by the thread, for moments only.
    waiting: Mutex<Waiting>,
    /// Something came, or there is a hurry.
    changed: Condvar,
    /// The thread took what there was.
    taken: Condvar,
    syncing: Syncing,
}

/// How and what for it is synced.
#[derive(Clone, Debug)]
pub(super) struct Syncing {
    pub(super) disk: Arc<dyn Disk>,
    /// A sync failed, and none has worked since. Shared with the sinks that follow this one; set with `waiting` locked.
    pub(super) is_suspect: Arc<AtomicBool>,
}

/// What the thread does next.
enum Step {
    BeginWriteBack(Vec<Arc<OutputFile>>),
    /// A round.
    Sync(Unsynced, Written),
}

#[derive(Debug, Default)]
struct Waiting {
    unsynced: Unsynced,
    written: Option<Written>,
    /// Bytes written since the files were last told to go to the disk.
    lingering_bytes: usize,
    /// When the next round begins; set while anything waits.
    due: Option<Instant>,
    is_hurried: bool,
    is_ending: bool,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.unsynced.is_full()
            || self.written.as_ref().is_some_and(|written| {
                written.bytes() >= UNSYNCED_BYTES_MAX || written.intakes() >= UNSYNCED_INTAKES_MAX
            })
    }

    fn lingers(&self) -> bool {
        self.lingering_bytes >= WRITE_BACK_BYTES
    }
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread for it.
    pub(super) fn start(syncing: Syncing) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            taken: Condvar::new(),
            syncing,
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("file-sync".to_owned())
            .spawn(move || run(&of_thread))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Has `unsynced` synced within about a second, and then reports `written` as done. Waits while too much waits.
    pub(super) fn keep(&self, unsynced: Unsynced, written: Written) {
        let mut waiting = self.shared.lock();
        while waiting.is_full() && self.is_alive() {
            let woken = self.shared.taken.wait_timeout(waiting, LOOK_INTERVAL);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        if self.shared.syncing.is_suspect.load(Ordering::Acquire) {
            drop(waiting);
            return doubt(written, "a sync failed after they were written");
        }
        if !self.is_alive() {
            drop(waiting);
            return doubt(written, "the thread that syncs files is gone");
        }
        waiting.unsynced.append(unsynced);
        let lingered = waiting.lingers();
        waiting.lingering_bytes += written.bytes();
        let begins_to_linger = waiting.lingers() && !lingered;
        match &mut waiting.written {
            Some(before) => before.append(written),
            none => *none = Some(written),
        }
        let is_first = waiting.due.is_none();
        waiting.due.get_or_insert_with(|| Instant::now() + INTERVAL);
        if waiting.is_full() {
            waiting.is_hurried = true;
        }
        // Every call would be a wake-up for nothing.
        if is_first || waiting.is_hurried || begins_to_linger {
            self.shared.changed.notify_one();
        }
    }

    /// Begins the next round at once.
    pub(super) fn hurry(&self) {
        let mut waiting = self.shared.lock();
        if waiting.written.is_some() {
            waiting.is_hurried = true;
            self.shared.changed.notify_one();
        }
    }

    fn is_alive(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.lock().is_ending = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that syncs files panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sync failed. What was written since it began is in doubt as well: the operating system may have tried it together
    /// with the rest and told of both in one, so that the next sync of the same file would work though it is lost.
    fn fail(&self, mut written: Written, reason: &str) {
        let mut waiting = self.lock();
        self.syncing.is_suspect.store(true, Ordering::Release);
        let later = std::mem::take(&mut *waiting);
        waiting.is_ending = later.is_ending;
        self.taken.notify_all();
        drop(waiting);
        if let Some(later) = later.written {
            written.append(later);
        }
        doubt(written, reason);
    }

    /// Waits for something to do. None at the end.
    fn next_step(&self) -> Option<Step> {
        let mut waiting = self.lock();
        loop {
            let is_due = waiting.due.is_some_and(|due| due <= Instant::now());
            if (is_due || waiting.is_hurried || waiting.is_ending)
                && let Some(written) = waiting.written.take()
            {
                waiting.due = None;
                waiting.is_hurried = false;
                waiting.lingering_bytes = 0;
                self.taken.notify_all();
                return Some(Step::Sync(std::mem::take(&mut waiting.unsynced), written));
            }
            if waiting.lingers() {
                waiting.lingering_bytes = 0;
                return Some(Step::BeginWriteBack(waiting.unsynced.files()));
            }
            if waiting.is_ending {
                return None;
            }
            waiting = match waiting.due {
                None => self.changed.wait(waiting),
                Some(due) => {
                    let time = due.saturating_duration_since(Instant::now());
                    let woken = self.changed.wait_timeout(waiting, time);
                    woken
                        .map(|(waiting, _)| waiting)
                        .map_err(|poisoned| PoisonError::new(poisoned.into_inner().0))
                }
            }
            .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn run(shared: &Shared) {
    let disk = &*shared.syncing.disk;
    while let Some(step) = shared.next_step() {
        match step {
            Step::BeginWriteBack(files) => {
                files.iter().for_each(|file| file.begin_write_back(disk));
            }
            Step::Sync(unsynced, written) => match unsynced.sync(disk) {
                Ok(()) => written.done(),
                Err(reason) => shared.fail(written, &reason),
            },
        }
    }
}

/// Events that may not be on the disk, and cannot be written again because nobody has them any more.
fn doubt(written: Written, reason: &str) {
    tracing::error!(
        reason,
        events = written.events(),
        "written events may not be on the disk: they are in doubt, and come again at the next start if their source is \
         durable"
    );
    drop(written);
}
