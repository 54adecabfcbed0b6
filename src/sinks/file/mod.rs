//! `type: file`: one line of CloudEvents JSON per event, in files whose path may depend on the event.

mod day;
mod file_name;
mod log_file;
mod open_files;
mod syncer;
mod template;

use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{AnySink, Event, Sink, SinkFactory, StartError};

use self::open_files::OpenFiles;
use self::syncer::Syncer;
use self::template::Template;
use crate::config::ByteSize;

/// Options of a file sink.
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
    /// When what was written is brought to the disk, so that it survives a power cut (default never).
    #[serde(default)]
    pub(crate) sync: SyncMode,
}

/// When written events are brought to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SyncMode {
    /// When the operating system sees fit, usually within half a minute.
    #[default]
    Never,
    /// About once a second, and when the sink ends.
    Interval,
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
            });
        }
        Ok(_) => {}
    }
    Err(problems)
}

impl SinkFactory for FileFactory {
    fn build(&self) -> Result<AnySink, StartError> {
        let syncer = match self.sync {
            SyncMode::Never => None,
            SyncMode::Interval => Some(Syncer::start().map_err(|error| {
                StartError(format!("cannot start a thread that syncs files: {error}"))
            })?),
        };
        let writing = Writing {
            rotate: self.rotate,
            syncer,
        };
        Ok(AnySink::Sync(Box::new(FileSink {
            files: OpenFiles::new(self.template.clone(), self.open_files, writing),
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
    syncer: Option<Syncer>,
}

struct FileSink {
    files: OpenFiles,
    /// The clock is read once per flush, not once per event.
    is_clock_due: bool,
}

impl Sink for FileSink {
    fn append(&mut self, event: &Event<'_>) -> Result<(), String> {
        if std::mem::take(&mut self.is_clock_due) {
            self.files.set_day(day::utc_day(SystemTime::now()));
        }
        self.files.append(event);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        self.is_clock_due = true;
        self.files.flush()
    }

    fn buffered_bytes(&self) -> usize {
        self.files.buffered_bytes()
    }
}

#[cfg(test)]
mod tests;
