//! Lines of files that match globs: read once and done, or followed as they grow.

mod cursor;
mod follow;
mod leftover;
mod once;
mod position;
mod progress;
mod tail;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{DurabilityKind, Source, SourceFactory, SourcePort, StartError};

use super::{Problem, check_max_event, unless};
use crate::config::OneOrMany;
use crate::config::{ByteSize, DurationText};
use crate::lines::{EVENT_BYTES_DEFAULT, EnvelopeFactory, LineEnvelope, LineParser};
use progress::Progress;

/// Events from files, one a line.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileOptions {
    /// Files to read: a path or glob, or a list of them.
    path: OneOrMany,
    /// `false` (the default): reads all files in the order of their names and ends; a glob that matches nothing is an error.
    /// `true`: goes on as files grow, are rotated or truncated, and as new ones match.
    #[serde(default)]
    follow: bool,
    /// How often followed files are looked at (default 250ms). One that was rotated is read until nothing was written to it for
    /// so long, or at most 100 times that; then the new one is.
    #[serde(default = "poll")]
    poll: DurationText,
    /// The longest line that is accepted (default 2MiB); longer ones are skipped and counted.
    #[serde(default = "max_event")]
    max_event: ByteSize,
}

fn poll() -> DurationText {
    DurationText(Duration::from_millis(250))
}

fn max_event() -> ByteSize {
    ByteSize(EVENT_BYTES_DEFAULT)
}

/// Makes the source; one that is started again goes on where the last one was.
pub(crate) struct FileFactory {
    globs: Vec<String>,
    follow: bool,
    poll: Duration,
    event_bytes_max: usize,
    envelope: Option<EnvelopeFactory>,
    progress: Arc<Progress>,
}

/// Checks the options.
pub(crate) fn prepare(
    options: FileOptions,
    envelope: Option<EnvelopeFactory>,
) -> Result<FileFactory, Vec<Problem>> {
    let mut problems = Vec::new();
    let globs = match options.path {
        OneOrMany::One(glob) => vec![glob],
        OneOrMany::Many(globs) => globs,
    };
    if globs.is_empty() {
        let message = "names no file, give a path or glob".to_owned();
        problems.push(("path".to_owned(), message));
    }
    for glob in &globs {
        if let Err(error) = glob::Pattern::new(glob) {
            let message = format!(
                "`{glob}` is not a glob: {} at character {}",
                error.msg, error.pos
            );
            problems.push(("path".to_owned(), message));
        }
    }
    if options.poll.0.is_zero() {
        let message = "`0s` would never rest, give 1ms or more".to_owned();
        problems.push(("poll".to_owned(), message));
    }
    check_max_event(options.max_event, &mut problems);
    unless(
        problems,
        FileFactory {
            globs,
            follow: options.follow,
            poll: options.poll.0,
            event_bytes_max: options.max_event.0,
            envelope,
            progress: Arc::default(),
        },
    )
}

impl SourceFactory for FileFactory {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        let attributes = match &self.envelope {
            Some(envelope) => Some(envelope()?),
            None => None,
        };
        Ok(Box::new(FileSource {
            globs: self.globs.clone(),
            follow: self.follow.then_some(self.poll),
            event_bytes_max: self.event_bytes_max,
            attributes,
            progress: self.progress.clone(),
        }))
    }

    fn durabilities(&self) -> &'static [DurabilityKind] {
        &[
            DurabilityKind::Upstream,
            DurabilityKind::Journal,
            DurabilityKind::None,
        ]
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

struct FileSource {
    globs: Vec<String>,
    follow: Option<Duration>,
    event_bytes_max: usize,
    attributes: Option<Box<dyn crate::lines::LineAttributes>>,
    progress: Arc<Progress>,
}

impl Source for FileSource {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        let Self {
            globs,
            follow,
            event_bytes_max,
            attributes,
            progress,
        } = *self;
        let envelope = attributes.map(|attributes| LineEnvelope::new(attributes, port.name()));
        let parser = LineParser::new(&port, String::new(), event_bytes_max, envelope);
        let reading = Reading {
            port,
            parser,
            event_bytes_max,
            progress,
        };
        Box::pin(async move {
            reading.progress.attach(&reading.port)?;
            match follow {
                Some(poll) => follow::run(reading, globs, poll).await,
                None => once::run(reading, globs).await,
            }
        })
    }
}

/// What all files of the source share.
struct Reading {
    port: SourcePort,
    parser: LineParser,
    event_bytes_max: usize,
    progress: Arc<Progress>,
}

/// The files that a glob matches now.
fn matching(glob: &str) -> Result<BTreeSet<PathBuf>, StartError> {
    let paths = glob::glob(glob).map_err(|error| StartError(format!("`{glob}`: {error}")))?;
    let mut files = BTreeSet::new();
    for path in paths {
        let path = path.map_err(|error| StartError(format!("`{glob}`: {error}")))?;
        if !path.is_dir() {
            files.insert(path);
        }
    }
    Ok(files)
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> StartError {
    StartError(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
