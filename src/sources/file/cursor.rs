//! The stored cursor: how far each file is finished, moved over a contiguous run of finished events only.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use veltrix_actors::CursorStore;

use super::position::{Identity, Position};
use super::progress::Known;

/// Positions that wait until the events before them are finished; beyond, every other one is left out, and the cursor moves
/// in longer steps.
const POSITIONS_WAITING_MAX: usize = 16_384;
/// Saving the cursor takes at most one part in so many of the source's time.
const SAVING_SHARE_DIVISOR: u32 = 10;
/// How often the cursor is made to survive a power cut, which it otherwise does when the source drains.
const CURSOR_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How far each file is finished.
pub(super) struct FileCursor {
    source: String,
    store: Arc<dyn CursorStore>,
    finished: HashMap<Identity, Known>,
    /// What the files' positions are once so many events are finished, in this order.
    waiting: VecDeque<Step>,
    waiting_max: usize,
    is_changed: bool,
    is_synced: bool,
    save_at: Instant,
    sync_at: Instant,
    /// Whether the last attempt to keep it failed, which is logged once.
    is_failing: bool,
}

struct Step {
    submitted: u64,
    file: Identity,
    /// None if the file is gone.
    known: Option<Known>,
}

/// What is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    files: Vec<StoredFile>,
}

#[derive(Serialize, Deserialize)]
struct StoredFile {
    /// For people, and to find a file that was renamed; what is no UTF-8 in it is lost.
    path: String,
    #[serde(flatten)]
    identity: Identity,
    #[serde(flatten)]
    position: Position,
}

impl FileCursor {
    /// The cursor as an earlier process left it.
    pub(super) fn load(source: &str, store: Arc<dyn CursorStore>) -> io::Result<Self> {
        let files = match store.load()? {
            Some(stored) => decode(source, &stored),
            None => HashMap::new(),
        };
        let now = Instant::now();
        Ok(Self {
            source: source.to_owned(),
            store,
            finished: files,
            waiting: VecDeque::new(),
            waiting_max: POSITIONS_WAITING_MAX,
            is_changed: false,
            is_synced: true,
            save_at: now,
            sync_at: now,
            is_failing: false,
        })
    }

    /// How far each file is finished.
    pub(super) fn files(&self) -> &HashMap<Identity, Known> {
        &self.finished
    }

    /// The file is the one that was known as `earlier`.
    pub(super) fn rename(&mut self, earlier: &Identity, file: Identity) {
        if *earlier != file
            && let Some(known) = self.finished.remove(earlier)
        {
            self.finished.insert(file, known);
            self.is_changed = true;
        }
    }

    /// Once the first `submitted` events are finished, that is known of the file.
    pub(super) fn note(&mut self, file: Identity, known: Option<Known>, submitted: u64) {
        if self.waiting.len() >= self.waiting_max {
            self.thin();
        }
        self.waiting.push_back(Step {
            submitted,
            file,
            known,
        });
    }

    /// The first `finished` events are finished.
    pub(super) fn advance(&mut self, finished: u64) {
        while let Some(step) = self
            .waiting
            .front()
            .is_some_and(|step| step.submitted <= finished)
            .then(|| self.waiting.pop_front())
            .flatten()
        {
            match step.known {
                Some(known) => self.finished.insert(step.file, known),
                None => self.finished.remove(&step.file),
            };
            self.is_changed = true;
        }
        let now = Instant::now();
        if self.is_changed && now >= self.save_at {
            self.save();
            self.save_at = Instant::now() + now.elapsed() * SAVING_SHARE_DIVISOR;
        }
        if !self.is_synced && now >= self.sync_at {
            self.sync_saved();
            self.sync_at = Instant::now() + CURSOR_SYNC_INTERVAL;
        }
    }

    /// Makes all of it survive a power cut.
    pub(super) fn sync(&mut self) {
        if self.is_changed {
            self.save();
        }
        if !self.is_synced {
            self.sync_saved();
        }
    }

    fn save(&mut self) {
        let saved = self.encode().and_then(|place| self.store.save(&place));
        self.is_changed = saved.is_err();
        self.is_synced &= saved.is_err();
        self.report(saved);
    }

    fn sync_saved(&mut self) {
        let synced = self.store.sync();
        self.is_synced = true;
        self.report(synced);
    }

    fn report(&mut self, result: io::Result<()>) {
        let is_failing = result.is_err();
        match result {
            Err(error) if !self.is_failing => tracing::error!(
                source = self.source,
                %error,
                "the cursor cannot be stored: what is finished from here on would be read again after a restart"
            ),
            Ok(()) if self.is_failing => {
                tracing::info!(source = self.source, "the cursor can be stored again");
            }
            _ => {}
        }
        self.is_failing = is_failing;
    }

    /// Leaves out every other step of each file but its last one.
    fn thin(&mut self) {
        let mut is_kept: HashMap<Identity, bool> = HashMap::new();
        let mut kept: VecDeque<Step> = VecDeque::with_capacity(self.waiting.len());
        while let Some(step) = self.waiting.pop_back() {
            let keep = is_kept.entry(step.file).or_default();
            *keep = !*keep;
            if *keep {
                kept.push_front(step);
            }
        }
        // Each file keeps its last one, however many there are.
        self.waiting_max = POSITIONS_WAITING_MAX + is_kept.len();
        self.waiting = kept;
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let file = |(identity, known): (&Identity, &Known)| StoredFile {
            path: known.path.to_string_lossy().into_owned(),
            identity: *identity,
            position: known.position,
        };
        let stored = Stored {
            files: self.finished.iter().map(file).collect(),
        };
        serde_json::to_vec(&stored).map_err(io::Error::from)
    }
}

fn decode(source: &str, stored: &[u8]) -> HashMap<Identity, Known> {
    let stored: Stored = match serde_json::from_slice(stored) {
        Ok(stored) => stored,
        Err(error) => {
            tracing::error!(source, %error, "the stored cursor is ignored: all files are read again from their starts");
            return HashMap::new();
        }
    };
    let known = |file: StoredFile| {
        let known = Known {
            path: Path::new(&file.path).into(),
            position: file.position,
        };
        (file.identity, known)
    };
    stored.files.into_iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Default)]
    struct Disk {
        saved: Mutex<Vec<u8>>,
        is_full: AtomicBool,
    }

    impl CursorStore for Disk {
        fn load(&self) -> io::Result<Option<Vec<u8>>> {
            let saved = self.saved.lock().unwrap().clone();
            Ok(Some(saved).filter(|saved| !saved.is_empty()))
        }

        fn save(&self, place: &[u8]) -> io::Result<()> {
            if self.is_full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *self.saved.lock().unwrap() = place.to_vec();
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn file(name: &str) -> (Identity, Arc<Path>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, "").unwrap();
        let identity = Identity::of(&std::fs::metadata(&path).unwrap());
        (identity, path.into(), folder)
    }

    fn at(path: &Arc<Path>, offset: u64) -> Option<Known> {
        Some(Known {
            path: path.clone(),
            position: Position::behind(b"line", offset),
        })
    }

    /// What the next process would find.
    fn stored(disk: &Arc<Disk>, file: &Identity) -> Option<u64> {
        let cursor = FileCursor::load("in", disk.clone()).unwrap();
        cursor.files().get(file).map(|known| known.position.offset)
    }

    #[test]
    fn it_moves_over_what_is_finished_without_a_gap_and_no_further() {
        let disk = Arc::new(Disk::default());
        let ((a, path_a, _a), (b, path_b, _b)) = (file("a"), file("b"));
        let mut cursor = FileCursor::load("in", disk.clone()).unwrap();
        cursor.note(a, at(&path_a, 100), 10);
        cursor.note(a, at(&path_a, 200), 20);
        cursor.note(b, at(&path_b, 50), 20);
        cursor.note(b, at(&path_b, 60), 21);
        let mut after = |finished| {
            cursor.advance(finished);
            cursor.sync();
            (stored(&disk, &a), stored(&disk, &b))
        };
        assert_eq!(after(9), (None, None));
        assert_eq!(after(10), (Some(100), None));
        assert_eq!(after(19), (Some(100), None));
        assert_eq!(after(20), (Some(200), Some(50)));
        assert_eq!(after(30), (Some(200), Some(60)));
        cursor.note(a, None, 30);
        cursor.note(b, at(&path_b, 70), 40);
        cursor.advance(39);
        cursor.sync();
        assert_eq!((stored(&disk, &a), stored(&disk, &b)), (None, Some(60)));
    }

    #[test]
    fn what_a_full_disk_refused_is_kept_once_there_is_room() {
        let disk = Arc::new(Disk::default());
        let (a, path, _folder) = file("a");
        let mut cursor = FileCursor::load("in", disk.clone()).unwrap();
        disk.is_full.store(true, Ordering::Relaxed);
        cursor.note(a, at(&path, 100), 1);
        cursor.advance(1);
        assert!(cursor.is_failing && stored(&disk, &a).is_none());
        disk.is_full.store(false, Ordering::Relaxed);
        cursor.sync();
        assert!(!cursor.is_failing);
        assert_eq!(stored(&disk, &a), Some(100));
    }

    #[test]
    fn an_event_that_is_never_finished_does_not_fill_the_memory_with_positions() {
        let disk = Arc::new(Disk::default());
        let ((a, path_a, _a), (b, path_b, _b)) = (file("a"), file("b"));
        let mut cursor = FileCursor::load("in", disk.clone()).unwrap();
        cursor.note(b, at(&path_b, 7), 1);
        for offset in 1..=200_000 {
            cursor.note(a, at(&path_a, offset), offset);
            assert!(cursor.waiting.len() <= POSITIONS_WAITING_MAX + 2);
        }
        cursor.advance(150_000);
        cursor.sync();
        let reached = stored(&disk, &a).unwrap();
        assert!((100_000..=150_000).contains(&reached), "{reached}");
        cursor.advance(200_000);
        cursor.sync();
        assert_eq!(stored(&disk, &a), Some(200_000));
        assert_eq!(stored(&disk, &b), Some(7));
    }

    #[test]
    fn what_cannot_be_read_is_ignored() {
        let disk = Arc::new(Disk::default());
        *disk.saved.lock().unwrap() = b"{\"files\":[{}]}".to_vec();
        let cursor = FileCursor::load("in", disk).unwrap();
        assert!(cursor.files().is_empty());
    }
}
