//! Files that are read as they grow.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;
use veltrix_actors::StartError;

use super::position::Identity;
use super::tail::{Fate, Tail};
use super::{Reading, leftover, matching};

/// Files open at once; further ones wait until others are gone.
const FOLLOWED_FILES_MAX: usize = 1_024;
/// Reads of one file before the others have their turn.
const READS_PER_TURN_MAX: usize = 16;

/// Follows all files that match, until the source drains.
pub(super) async fn run(
    mut reading: Reading,
    globs: Vec<String>,
    poll: Duration,
) -> Result<(), StartError> {
    let mut tails: BTreeMap<PathBuf, Tail> = BTreeMap::new();
    open_new(&mut tails, &globs, &reading)?;
    reading.port.report_ready();
    for tail in leftover::find(&globs, &reading) {
        if let Turn::Drain = close(tail, &mut reading).await? {
            return Ok(());
        }
    }
    reading.progress.prune(reading.port.submitted());
    loop {
        open_new(&mut tails, &globs, &reading)?;
        let mut is_idle = true;
        for tail in tails.values_mut() {
            reading.parser.set_place(tail.path.display().to_string());
            match read_turn(tail, &mut reading).await? {
                Turn::Drain => return Ok(()),
                Turn::More => is_idle = false,
                Turn::End => {}
            }
        }
        if !is_idle {
            continue;
        }
        let mut gone = Vec::new();
        for (path, tail) in &mut tails {
            match tail.fate() {
                Fate::Same => {}
                Fate::Truncated => {
                    tracing::info!(source = reading.port.name(), path = %path.display(), "truncated, reading it anew");
                    tail.rewind(&reading)?;
                }
                Fate::Gone => gone.push(path.clone()),
            }
        }
        let is_rotated = !gone.is_empty();
        for path in gone {
            if let Some(tail) = tails.remove(&path)
                && let Turn::Drain = close(tail, &mut reading).await?
            {
                return Ok(());
            }
        }
        if is_rotated {
            continue;
        }
        tokio::select! {
            biased;
            () = reading.port.draining() => return Ok(()),
            () = sleep(poll) => {}
        }
    }
}

enum Turn {
    /// There may be more to read.
    More,
    /// Nothing more at the moment.
    End,
    Drain,
}

async fn read_turn(tail: &mut Tail, reading: &mut Reading) -> Result<Turn, StartError> {
    for _ in 0..READS_PER_TURN_MAX {
        if !reading.port.room().await {
            return Ok(Turn::Drain);
        }
        if !tail.read(reading)? {
            return Ok(Turn::End);
        }
    }
    Ok(Turn::More)
}

fn open_new(
    tails: &mut BTreeMap<PathBuf, Tail>,
    globs: &[String],
    reading: &Reading,
) -> Result<(), StartError> {
    for glob in globs {
        for path in matching(glob)? {
            if tails.contains_key(&path) || tails.len() >= FOLLOWED_FILES_MAX {
                continue;
            }
            // What cannot be looked at cannot be opened either, which says why.
            if is_followed(&path, tails, reading).unwrap_or(false) {
                continue;
            }
            match Tail::open(&path, reading) {
                Ok(tail) => {
                    tracing::debug!(source = reading.port.name(), path = %path.display(), "following");
                    tails.insert(path, tail);
                }
                // It may have been removed since it matched; if it stays unreadable, the log says so at every poll.
                Err(error) => tracing::warn!(source = reading.port.name(), %error),
            }
        }
    }
    Ok(())
}

/// Whether the file is followed already, as may be by the name that it had before it was renamed.
fn is_followed(
    path: &Path,
    tails: &mut BTreeMap<PathBuf, Tail>,
    reading: &Reading,
) -> io::Result<bool> {
    let identity = Identity::of(&std::fs::metadata(path)?);
    let known = tails.iter().find(|(_, tail)| tail.identity == identity);
    let Some((name, tail)) = known else {
        return Ok(false);
    };
    if let Fate::Gone = tail.fate() {
        let name = name.clone();
        if let Some(mut tail) = tails.remove(&name) {
            tracing::info!(source = reading.port.name(), path = %name.display(), to = %path.display(), "renamed");
            tail.path = path.into();
            tails.insert(path.to_owned(), tail);
        }
    }
    Ok(true)
}

/// Takes the last of a file whose path is gone: what was appended between the last read and the rotation, and a last
/// line without newline.
async fn close(mut tail: Tail, reading: &mut Reading) -> Result<Turn, StartError> {
    reading.parser.set_place(tail.path.display().to_string());
    loop {
        match read_turn(&mut tail, reading).await? {
            Turn::More => {}
            // The next run finds the file by its inode.
            Turn::Drain => return Ok(Turn::Drain),
            Turn::End => break,
        }
    }
    tail.finish(reading);
    let submitted = reading.port.submitted();
    reading.progress.forget(&tail.identity, submitted);
    tracing::info!(source = reading.port.name(), path = %tail.path.display(), "gone or rotated");
    Ok(Turn::End)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::path::Path;

    use super::super::super::testing::{Harness, event_line, ids};
    use super::super::prepare;

    fn start(path: &Path) -> Harness {
        let options = serde_json::json!({ "path": path, "follow": true, "poll": "5ms" });
        let factory = prepare(serde_json::from_value(options).expect("options"), None);
        Harness::start(factory.expect("valid options"))
    }

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .expect("a file");
        file.write_all(text.as_bytes()).expect("written");
    }

    #[actix::test]
    async fn files_are_followed_through_growth_rotation_and_truncation() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        append(
            &path,
            &format!("{}\n{}", event_line("1"), &event_line("2")[..10]),
        );
        let mut harness = start(&folder.path().join("*.log"));
        assert_eq!(ids(&harness.take(1).await), ["1"]);
        append(&path, &format!("{}\n", &event_line("2")[10..]));
        assert_eq!(ids(&harness.take(1).await), ["2"]);
        append(&path, &event_line("3"));
        std::fs::rename(&path, folder.path().join("a.log.1")).expect("renamed");
        append(&path, &format!("{}\n", event_line("4")));
        assert_eq!(ids(&harness.take(2).await), ["3", "4"]);
        File::create(&path).expect("truncated");
        append(&path, "\n");
        append(
            &folder.path().join("b.log"),
            &format!("{}\n", event_line("5")),
        );
        assert_eq!(ids(&harness.take(1).await), ["5"]);
        append(&path, &format!("{}\n", event_line("6")));
        assert_eq!(ids(&harness.take(1).await), ["6"]);
        harness.stop().await;
        let (result, lines) = harness.finish().await;
        assert_eq!((result, lines), (Ok(()), vec![]));
    }

    #[actix::test]
    async fn files_that_do_not_exist_yet_are_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("later.log");
        let mut harness = start(&path);
        append(&path, &format!("{}\n", event_line("1")));
        assert_eq!(ids(&harness.take(1).await), ["1"]);
        harness.stop().await;
        assert_eq!(harness.finish().await.0, Ok(()));
    }
}
