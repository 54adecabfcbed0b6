//! `type: file`: one line of CloudEvents JSON per event, in files whose path may depend on the event.

mod day;
mod disk;
mod file_name;
mod log_file;
mod open_files;
mod syncer;
mod template;
mod torn;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{AnySink, Event, FlushError, Sink, SinkFactory, StartError, Written};

use self::disk::{Disk, RealDisk, Unsynced};
use self::open_files::OpenFiles;
use self::syncer::{Syncer, Syncing};
use self::template::Template;
use crate::config::ByteSize;

/// Options of a file sink.
///
/// A line that a process left unfinished when it died is moved to `NAME.torn` when its file is next written to, so that
/// every line of the file is whole; this is logged. Other last lines without a newline are given one.
///
/// A file that is moved or removed while the sink has it open is looked for at its path every 100 ms while events come; then a
/// new one is begun there. So `logrotate` needs neither a signal nor `copytruncate`; but events may go to the moved file for that
/// moment, so have it use `delaycompress`, or wait before it compresses (`postrotate sleep 1 endscript`). Or leave it all to
/// `rotate`. What was written to a file that is removed is gone with it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileOptions {
    /// Where to write, relative to the working directory; missing directories are created. `{type}`, `{source}`,
    /// `{subject}` and `{date}` (the UTC day on which the event is written, `2026-11-23`) are filled in. In a filled-in
    /// value everything but `A-Za-z0-9._-` is percent-encoded, so it can never leave its directory; an empty one
    /// becomes `_`, and a long one (over 128 bytes) is cut and ends in a hash of the whole.
    pub(crate) path: String,
    /// Files kept open at most, 1 to 65536; the one not written to for the longest time is closed, and opened again
    /// when it is needed.
    #[serde(default = "default_open_files")]
    #[schemars(range(min = 1, max = 65536))]
    pub(crate) open_files: usize,
    /// Begins a new file when one has grown large; left out, files grow without end.
    #[serde(default)]
    pub(crate) rotate: Option<RotateOptions>,
    /// When what was written is brought to the disk (`fdatasync`, and the directories of new files), so that it survives a
    /// power cut (default interval). An event is done only then: sources with a journal or a cursor keep it until then, and
    /// give it again after a crash. If that fails, the files are not trusted with anything further until a sync works again.
    #[serde(default)]
    pub(crate) sync: SyncMode,
}

/// When written events are brought to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SyncMode {
    /// With every write, before the next one: what waits meanwhile is written and synced together. If it fails, it is
    /// written again, so events may be there twice.
    Always,
    /// About once a second, sooner when 16 MiB wait or a source waits for memory, and at once in a drain. Files begin to go to
    /// the disk with each MiB, so that the sync does not hold up others on the same disk. Writing goes on meanwhile. If it
    /// fails, the events are in doubt: they are logged, counted, and not done.
    #[default]
    Interval,
    /// When the operating system sees fit, usually within half a minute. Events are done once written: a power cut may lose
    /// them, a crash of Veltrix does not.
    Never,
}

/// When a file is set aside: `out.ndjson` becomes `out.ndjson.1`, that becomes `out.ndjson.2`, and so on.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RotateOptions {
    /// Size that a file does not exceed, unless a single event does; at least 1 KiB.
    pub(crate) size: ByteSize,
    /// Older files kept beside the current one, 1 to 1000; the oldest is deleted.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) keep: u32,
}

impl Default for RotateOptions {
    fn default() -> Self {
        Self {
            size: ByteSize(100 * 1024 * 1024),
            keep: 5,
        }
    }
}

fn default_open_files() -> usize {
    256
}

/// Makes file sinks.
#[derive(Debug)]
pub(crate) struct FileFactory {
    template: Template,
    open_files: usize,
    rotate: Option<RotateOptions>,
    sync: SyncMode,
    syncing: Syncing,
}

/// Validates the options of the sink called `name`.
pub(crate) fn prepare(
    options: FileOptions,
    _name: &str,
) -> Result<FileFactory, Vec<(String, String)>> {
    let FileOptions {
        path,
        open_files,
        rotate,
        sync,
    } = options;
    let mut problems = Vec::new();
    let mut problem = |key: &str, message: String| problems.push((key.to_owned(), message));
    if !(1..=65_536).contains(&open_files) {
        problem("open_files", format!("`{open_files}` is not in 1 to 65536"));
    }
    if let Some(RotateOptions { size, keep }) = rotate {
        if size.0 < 1024 {
            problem("rotate.size", format!("`{size}` is less than 1KiB"));
        }
        if !(1..=1000).contains(&keep) {
            problem("rotate.keep", format!("`{keep}` is not in 1 to 1000"));
        }
    }
    let template = Template::parse(&path).and_then(|template| {
        if rotate.is_some() && template.ends_in_value() {
            // Type `a` set aside as `a.1` would be the file of type `a.1`.
            return Err(
                "with `rotate`, `path` needs a text after its last value, such as `{type}.ndjson`"
                    .to_owned(),
            );
        }
        Ok(template)
    });
    match template {
        Err(message) => problem("path", message),
        Ok(template) if problems.is_empty() => {
            return Ok(FileFactory {
                template,
                open_files,
                rotate,
                sync,
                syncing: Syncing {
                    disk: Arc::new(RealDisk),
                    is_suspect: Arc::default(),
                },
            });
        }
        Ok(_) => {}
    }
    Err(problems)
}

impl SinkFactory for FileFactory {
    fn build(&self) -> Result<AnySink, StartError> {
        let syncer = match self.sync {
            SyncMode::Never | SyncMode::Always => None,
            SyncMode::Interval => Some(Syncer::start(self.syncing.clone()).map_err(|error| {
                StartError(format!("cannot start a thread that syncs files: {error}"))
            })?),
        };
        let writing = Writing {
            rotate: self.rotate,
            disk: Some(Arc::clone(&self.syncing.disk)),
            unsynced: (self.sync != SyncMode::Never).then(Unsynced::default),
            sync_failure: None,
        };
        Ok(AnySink::Sync(Box::new(FileSink {
            files: OpenFiles::new(self.template.clone(), self.open_files, writing),
            syncer,
            is_suspect: Arc::clone(&self.syncing.is_suspect),
            is_clock_due: true,
        })))
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

/// How files are written.
#[derive(Debug, Default)]
struct Writing {
    rotate: Option<RotateOptions>,
    disk: Option<Arc<dyn Disk>>,
    /// What was written since it was last synced, or given to the thread that does so; `None` if nobody syncs.
    unsynced: Option<Unsynced>,
    /// Why a sync in the middle of a flush failed.
    sync_failure: Option<String>,
}

impl Writing {
    /// Keeps the number of files down that wait for a sync, and are open until then.
    fn sync_if_full(&mut self) {
        if self.unsynced.as_ref().is_some_and(Unsynced::is_full) {
            let failure = self.sync().err();
            self.sync_failure = self.sync_failure.take().or(failure);
        }
    }

    /// Syncs what was written.
    fn sync(&mut self) -> Result<(), String> {
        match (&self.disk, &mut self.unsynced) {
            (Some(disk), Some(unsynced)) => std::mem::take(unsynced).sync(&**disk),
            _ => Ok(()),
        }
    }
}

struct FileSink {
    files: OpenFiles,
    /// With `sync: interval`.
    syncer: Option<Syncer>,
    /// A sync has failed: until one works again, nothing is handed over that is not synced.
    is_suspect: Arc<AtomicBool>,
    /// The clock is read once per flush, not once per event.
    is_clock_due: bool,
}

impl FileSink {
    /// Syncs with the flush, as `sync: always` does.
    fn sync(&mut self) -> Result<(), FlushError> {
        let writing = self.files.writing();
        let synced = match writing.sync_failure.take() {
            Some(reason) => Err(reason),
            None => writing.sync(),
        };
        if synced.is_ok() == self.is_suspect.swap(synced.is_err(), Ordering::AcqRel) {
            match &synced {
                Ok(()) => tracing::info!("files can be synced again"),
                Err(reason) => tracing::error!(reason, "what was written is written again"),
            }
        }
        synced.map_err(FlushError::Unsafe)
    }
}

impl Sink for FileSink {
    fn append(&mut self, event: &Event<'_>) -> Result<(), String> {
        if std::mem::take(&mut self.is_clock_due) {
            self.files.set_day(day::utc_day(SystemTime::now()));
        }
        self.files.append(event);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FlushError> {
        self.is_clock_due = true;
        let was_suspect = self.is_suspect.load(Ordering::Acquire);
        if was_suspect {
            self.files.close();
        }
        let written = self.files.flush();
        if self.files.writing().sync_failure.is_some() {
            return self.sync();
        }
        if !was_suspect && self.is_suspect.load(Ordering::Acquire) {
            // Into the files that it failed for, and at worst before it did.
            let reason = "a sync failed while this was written";
            return Err(FlushError::Unsafe(reason.to_owned()));
        }
        written.map_err(FlushError::Unwritten)?;
        match was_suspect || self.syncer.is_none() {
            true => self.sync(),
            false => Ok(()),
        }
    }

    fn written(&mut self, written: Written) {
        let unsynced = self.files.writing().unsynced.as_mut();
        match (&self.syncer, unsynced.map(std::mem::take)) {
            (Some(syncer), Some(unsynced)) if !unsynced.is_empty() => {
                syncer.keep(unsynced, written);
            }
            _ => written.done(),
        }
    }

    fn hurry(&mut self) {
        if let Some(syncer) = &self.syncer {
            syncer.hurry();
        }
    }

    fn buffered_bytes(&self) -> usize {
        self.files.buffered_bytes()
    }
}

#[cfg(test)]
mod tests;
