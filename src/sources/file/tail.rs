//! One open file and how far it was read.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use veltrix_actors::{BATCH_BYTES_MAX, StartError};

use super::{Reading, failed};
use crate::lines::{Chunk, Framer};

/// An open file.
pub(super) struct Tail {
    pub(super) path: PathBuf,
    file: File,
    identity: (u64, u64),
    /// Bytes read.
    offset: u64,
    framer: Framer,
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
        let offset = reading.progress.get(path).min(metadata.len());
        if offset > 0 {
            let sought = file.seek(SeekFrom::Start(offset));
            sought.map_err(|error| failed("read", path, &error))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            identity: (metadata.dev(), metadata.ino()),
            offset,
            framer: new_framer(reading),
        })
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
        let chunk = self.framer.take_lines();
        self.submit(chunk, reading);
        Ok(read > 0)
    }

    /// Submits a last line that has no newline, since nothing will follow it.
    pub(super) fn finish(&mut self, reading: &mut Reading) {
        let rest = self.framer.take_rest();
        self.submit(rest, reading);
    }

    /// Compares the path with the open file.
    pub(super) fn fate(&self) -> Fate {
        match std::fs::metadata(&self.path) {
            Ok(now) if (now.dev(), now.ino()) != self.identity => Fate::Gone,
            Ok(now) if now.len() < self.offset => Fate::Truncated,
            Ok(_) => Fate::Same,
            Err(_) => Fate::Gone,
        }
    }

    /// Starts again at the beginning of the file.
    pub(super) fn rewind(&mut self, reading: &Reading) -> Result<(), StartError> {
        let sought = self.file.rewind();
        sought.map_err(|error| failed("read", &self.path, &error))?;
        self.offset = 0;
        self.framer = new_framer(reading);
        reading.progress.set(&self.path, 0);
        Ok(())
    }

    /// Bytes read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    fn submit(&self, chunk: Option<Chunk>, reading: &mut Reading) {
        let Some(chunk) = chunk else {
            return;
        };
        let parsed = reading.parser.parse(chunk);
        reading.port.submit(parsed.intake);
        let done = self.offset - self.framer.partial_bytes() as u64;
        reading.progress.set(&self.path, done);
    }
}

fn new_framer(reading: &Reading) -> Framer {
    let budget = reading.port.budget().clone();
    Framer::new(reading.event_bytes_max, BATCH_BYTES_MAX, budget).for_one_stream()
}
