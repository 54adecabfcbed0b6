//! Files that are read once, in the order of their names.

use std::collections::BTreeSet;

use indicatif::{ProgressBar, ProgressStyle};
use veltrix_actors::StartError;

use super::tail::Tail;
use super::{Reading, failed, matching};
use crate::telemetry;

/// Reads all files that match, and ends.
pub(super) async fn run(mut reading: Reading, globs: Vec<String>) -> Result<(), StartError> {
    let mut paths = BTreeSet::new();
    for glob in &globs {
        let found = matching(glob)?;
        if found.is_empty() {
            return Err(StartError(format!("no file matches `{glob}`")));
        }
        paths.extend(found);
    }
    let mut total_bytes = 0;
    for path in &paths {
        let metadata = std::fs::metadata(path).map_err(|error| failed("read", path, &error))?;
        total_bytes += metadata.len();
    }
    reading.port.report_ready();
    let bar = progress_bar(reading.port.name(), total_bytes);
    let (mut finished_bytes, mut known_files) = (0, 0);
    for path in &paths {
        let mut tail = Tail::open(path, &reading)?;
        reading.parser.set_place(path.display().to_string());
        loop {
            if !reading.port.room().await {
                bar.abandon();
                return Ok(());
            }
            if !tail.read(&mut reading)? {
                break;
            }
            bar.set_position(finished_bytes + tail.offset());
        }
        tail.finish(&mut reading);
        finished_bytes += tail.offset();
        known_files += usize::from(tail.had_been_read());
    }
    bar.finish_and_clear();
    if known_files > 0 {
        tracing::info!(
            source = reading.port.name(),
            files = paths.len(),
            known_files,
            "an earlier run has read some of the files to their ends, and they have not grown"
        );
    }
    reading.progress.prune(reading.port.submitted());
    Ok(())
}

/// A bar on standard error if that is a terminal, else an invisible one.
fn progress_bar(source: &str, total_bytes: u64) -> ProgressBar {
    let Some(terminal) = telemetry::terminal() else {
        return ProgressBar::hidden();
    };
    let template = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template);
    terminal
        .add(ProgressBar::new(total_bytes))
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(source.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Harness, event_line, ids};
    use super::super::prepare;

    fn factory(path: &std::path::Path) -> super::super::FileFactory {
        let options = serde_json::json!({ "path": path });
        prepare(serde_json::from_value(options).expect("options"), None).expect("valid options")
    }

    #[actix::test]
    async fn files_are_read_in_order_to_their_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let lines = |range: std::ops::Range<u32>| {
            let line = |id: u32| format!("{}\n", event_line(&id.to_string()));
            range.map(line).collect::<String>()
        };
        std::fs::write(folder.path().join("b.ndjson"), lines(5_000..5_003)).expect("written");
        let first = lines(0..5_000);
        std::fs::write(folder.path().join("a.ndjson"), first.trim_end()).expect("written");
        std::fs::create_dir(folder.path().join("c.ndjson")).expect("a folder");
        let harness = Harness::start(factory(&folder.path().join("*.ndjson")));
        let (result, lines) = harness.finish().await;
        assert_eq!(result, Ok(()));
        let expected: Vec<_> = (0..5_003).map(|id| id.to_string()).collect();
        assert_eq!(ids(&lines), expected);
    }

    #[actix::test]
    async fn a_glob_that_matches_nothing_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let harness = Harness::start(factory(&folder.path().join("*.ndjson")));
        let error = harness.finish().await.0.expect_err("no file").to_string();
        assert!(
            error.contains("no file matches") && error.contains("*.ndjson"),
            "{error}"
        );
    }
}
