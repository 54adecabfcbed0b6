//! One open file and how far it was read.

use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use veltrix_actors::{BATCH_BYTES_MAX, StartError};

use super::position::{Identity, Position};
use super::{Reading, failed};
use crate::lines::{Chunk, Framer};

/// Looks at a file without its path that somebody still writes to, before it is given up all the same.
const LOOKS_WITHOUT_PATH_MAX: u32 = 100;

/// An open file.
pub(super) struct Tail {
    pub(super) path: Arc<Path>,
    pub(super) identity: Identity,
    file: File,
    /// Whether it has places to go back to.
    is_regular: bool,
    /// Bytes that an earlier run had read.
    began_at: u64,
    /// Bytes read.
    offset: u64,
    /// Set since its path was first seen to be gone.
    pathless: Option<Pathless>,
    framer: Framer,
}

/// A file whose path is gone.
struct Pathless {
    looks: u32,
    /// Bytes read at the last look.
    offset: u64,
}

/// What has become of a path since its file was opened.
pub(super) enum Fate {
    Same,
    /// The file is shorter than what was read of it.
    Truncated,
    /// Another file is there now, or none.
    Gone,
}

impl Tail {
    /// Opens a file where the source left off.
    pub(super) fn open(path: &Path, reading: &Reading) -> Result<Self, StartError> {
        let mut file = File::open(path).map_err(|error| failed("open", path, &error))?;
        let metadata = file
            .metadata()
            .map_err(|error| failed("open", path, &error))?;
        let path: Arc<Path> = path.into();
        let is_regular = metadata.is_file();
        let mut offset = 0;
        if is_regular {
            offset = resume(&file, &metadata, &path, reading)
                .map_err(|error| failed("read", &path, &error))?;
        } else if reading.port.cursor_store().is_some() {
            tracing::warn!(
                source = reading.port.name(),
                path = %path.display(),
                "is no regular file: what is not finished of it when the process dies is lost"
            );
        }
        if offset > 0 {
            let sought = file.seek(SeekFrom::Start(offset));
            sought.map_err(|error| failed("read", &path, &error))?;
        }
        Ok(Self {
            path,
            identity: Identity::of(&metadata),
            file,
            is_regular,
            began_at: offset,
            offset,
            pathless: None,
            framer: new_framer(reading),
        })
    }

    /// Whether there was nothing to read of it that an earlier run had not read.
    pub(super) fn had_been_read(&self) -> bool {
        self.offset > 0 && self.began_at == self.offset
    }

    /// Reads once and submits the lines that are complete; false at the end of the file.
    pub(super) fn read(&mut self, reading: &mut Reading) -> Result<bool, StartError> {
        let read = loop {
            match rustix::io::read(&self.file, spare_capacity(self.framer.buffer())) {
                Err(Errno::INTR) => {}
                read => break read,
            }
        };
        let read = read.map_err(|error| failed("read", &self.path, &error.into()))?;
        self.offset += read as u64;
        if let Some(chunk) = self.framer.take_lines() {
            let position = self.submit(chunk, reading).0;
            // In a line that is too long there is no place to go on at.
            if !self.framer.is_skipping() {
                self.note(position, reading);
            }
        }
        Ok(read > 0)
    }

    /// Submits a last line that has no newline, since nothing will follow it.
    pub(super) fn finish(&mut self, reading: &mut Reading) {
        let Some(rest) = self.framer.take_rest() else {
            return;
        };
        let (position, events) = self.submit(rest, reading);
        // If it is no event, it may be the beginning of one that is still written: the next run looks at it again.
        if events > 0 {
            self.note(position, reading);
        }
    }

    /// Compares the path with the open file.
    pub(super) fn fate(&self) -> Fate {
        match std::fs::metadata(&self.path) {
            Ok(now) if Identity::of(&now) != self.identity => Fate::Gone,
            Ok(now) if self.is_regular && now.len() < self.offset => Fate::Truncated,
            Ok(_) => Fate::Same,
            Err(_) => Fate::Gone,
        }
    }

    /// Its path leads to it, perhaps another one than before.
    pub(super) fn has_path(&mut self) {
        self.pathless = None;
    }

    /// Its path is gone: whether nobody has written to it since that was last seen. Whoever rotates a file renames it first,
    /// and its writer goes on in it until it is told.
    pub(super) fn is_left(&mut self) -> bool {
        let offset = self.offset;
        let Some(pathless) = &mut self.pathless else {
            self.pathless = Some(Pathless { looks: 1, offset });
            return false;
        };
        pathless.looks += 1;
        let is_quiet = std::mem::replace(&mut pathless.offset, offset) == offset;
        is_quiet || pathless.looks > LOOKS_WITHOUT_PATH_MAX
    }

    /// Starts again at the beginning of the file.
    pub(super) fn rewind(&mut self, reading: &Reading) -> Result<(), StartError> {
        let sought = self.file.rewind();
        sought.map_err(|error| failed("read", &self.path, &error))?;
        self.offset = 0;
        self.framer = new_framer(reading);
        self.note(Position::START, reading);
        Ok(())
    }

    /// Bytes read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Submits the events of a chunk; the position behind it, and their number.
    fn submit(&self, chunk: Chunk, reading: &mut Reading) -> (Position, usize) {
        let end = self.offset - self.framer.partial_bytes() as u64;
        let position = Position::behind(&chunk.bytes, end);
        let intake = reading.parser.parse(chunk).intake;
        let events = intake.len();
        reading.port.submit(intake);
        (position, events)
    }

    fn note(&self, position: Position, reading: &Reading) {
        if self.is_regular {
            let submitted = reading.port.submitted();
            let progress = &reading.progress;
            progress.note(self.identity, &self.path, position, submitted);
        }
    }
}

/// Where to go on in a file: where this process or an earlier one was, if the file still is what it was then.
fn resume(
    file: &File,
    metadata: &Metadata,
    path: &Arc<Path>,
    reading: &Reading,
) -> io::Result<u64> {
    let identity = Identity::of(metadata);
    let Some(position) = reading.progress.position(&identity) else {
        return Ok(0);
    };
    let source = reading.port.name();
    if position.fits(file)? {
        tracing::debug!(source, path = %path.display(), offset = position.offset, "going on");
        return Ok(position.offset);
    }
    tracing::info!(source, path = %path.display(), "truncated or rewritten, reading it anew");
    let (start, submitted) = (Position::START, reading.port.submitted());
    reading.progress.note(identity, path, start, submitted);
    Ok(0)
}

fn new_framer(reading: &Reading) -> Framer {
    let budget = reading.port.budget().clone();
    Framer::new(reading.event_bytes_max, BATCH_BYTES_MAX, budget).for_one_stream()
}
