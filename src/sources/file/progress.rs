//! How far the source is with each file: over its own restarts, and from one process to the next.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use veltrix_actors::{Cursor, SourcePort, StartError};

use super::cursor::FileCursor;
use super::position::{Identity, Position};

/// Files of an earlier run that match no more and are remembered all the same; with more, those that are gone are forgotten.
const UNSEEN_FILES_MAX: usize = 1_024;

/// A file's name, and how far it was read.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) path: Arc<Path>,
    pub(super) position: Position,
}

/// How far the source is with each file. It is locked because the actors of one source come one after the other.
#[derive(Default)]
pub(super) struct Progress(Mutex<State>);

#[derive(Default)]
struct State {
    /// What was submitted of each file, over all starts in this process: without it, a restart would repeat it.
    submitted: HashMap<Identity, Known>,
    /// What is finished of the files of an earlier process that this one has not met yet.
    unseen: HashMap<Identity, Known>,
    /// What is finished; none unless that is to be kept.
    cursor: Option<FileCursor>,
}

impl Progress {
    /// Goes on where an earlier process was, if the port keeps that, and has the port move the place from now on.
    pub(super) fn attach(self: &Arc<Self>, port: &SourcePort) -> Result<(), StartError> {
        let Some(store) = port.cursor_store() else {
            return Ok(());
        };
        let mut state = self.lock();
        if state.cursor.is_none() {
            let failed = |error| StartError(format!("cannot use its stored cursor: {error}"));
            let cursor = FileCursor::load(port.name(), store.clone()).map_err(failed)?;
            state.unseen = cursor.files().clone();
            state.cursor = Some(cursor);
        }
        drop(state);
        port.keep_cursor(Box::new(Finishing(self.clone())));
        Ok(())
    }

    /// How far the file was read by this process or an earlier one.
    pub(super) fn position(&self, file: &Identity) -> Option<Position> {
        let mut state = self.lock();
        if let Some(known) = state.submitted.get(file) {
            return Some(known.position);
        }
        let mut unseen = state.unseen.keys().copied();
        let earlier = match state.unseen.contains_key(file) {
            true => *file,
            false => unseen.find(|known| file.has_moved_device(known))?,
        };
        let known = state.unseen.remove(&earlier)?;
        if let Some(cursor) = &mut state.cursor {
            cursor.rename(&earlier, *file);
        }
        let position = known.position;
        state.submitted.insert(*file, known);
        Some(position)
    }

    /// The file was read up to there, which is finished once the first `submitted` events of the source are.
    pub(super) fn note(&self, file: Identity, path: &Arc<Path>, at: Position, submitted: u64) {
        let mut state = self.lock();
        let known = Known {
            path: path.clone(),
            position: at,
        };
        if let Some(cursor) = &mut state.cursor {
            cursor.note(file, Some(known.clone()), submitted);
        }
        state.submitted.insert(file, known);
    }

    /// The file is gone, once the first `submitted` events of the source are finished.
    pub(super) fn forget(&self, file: &Identity, submitted: u64) {
        let mut state = self.lock();
        state.submitted.remove(file);
        if let Some(cursor) = &mut state.cursor {
            cursor.note(*file, None, submitted);
        }
    }

    /// The files of an earlier process that this one has not met, with what is finished of them.
    pub(super) fn unseen(&self) -> Vec<(Identity, Known)> {
        let state = self.lock();
        let unseen = state.unseen.iter();
        unseen.map(|(file, known)| (*file, known.clone())).collect()
    }

    /// Forgets files of earlier processes that are gone, if there are many of them.
    pub(super) fn prune(&self, submitted: u64) {
        let mut state = self.lock();
        if state.unseen.len() <= UNSEEN_FILES_MAX {
            return;
        }
        let is_gone = |known: &Known| matches!(known.path.try_exists(), Ok(false));
        let unseen = std::mem::take(&mut state.unseen);
        for (file, _) in unseen.iter().filter(|(_, known)| is_gone(known)) {
            if let Some(cursor) = &mut state.cursor {
                cursor.note(*file, None, submitted);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The port's hold of the cursor.
struct Finishing(Arc<Progress>);

impl Cursor for Finishing {
    fn advance(&mut self, finished: u64) {
        if let Some(cursor) = &mut self.0.lock().cursor {
            cursor.advance(finished);
        }
    }

    fn sync(&mut self) {
        if let Some(cursor) = &mut self.0.lock().cursor {
            cursor.sync();
        }
    }
}
