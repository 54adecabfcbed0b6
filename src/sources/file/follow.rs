//! Files that are read as they grow.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};
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
    let mut looked_at = Instant::now();
    loop {
        // As often as `poll` says, also while there is more to read.
        if looked_at.elapsed() >= poll {
            looked_at = Instant::now();
            for tail in take_left(&mut tails, &reading)? {
                if let Turn::Drain = close(tail, &mut reading).await? {
                    return Ok(());
                }
            }
            open_new(&mut tails, &globs, &reading)?;
        }
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

/// Compares the files with their paths. Those that were truncated are begun again, those that were left for good are returned.
/// One that has just lost its path may be found under another one by [`open_new`], before this is called again.
fn take_left(
    tails: &mut BTreeMap<PathBuf, Tail>,
    reading: &Reading,
) -> Result<Vec<Tail>, StartError> {
    let mut left = Vec::new();
    for (path, tail) in tails.iter_mut() {
        match tail.fate() {
            Fate::Same => tail.has_path(),
            Fate::Truncated => {
                tracing::info!(source = reading.port.name(), path = %path.display(), "truncated, reading it anew");
                tail.has_path();
                tail.rewind(reading)?;
            }
            Fate::Gone if tail.is_left() => left.push(path.clone()),
            Fate::Gone => {}
        }
    }
    Ok(left.iter().filter_map(|path| tails.remove(path)).collect())
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
    use std::time::Duration;

    use super::super::super::testing::{Harness, event_line, ids};
    use super::super::prepare;

    const POLL: Duration = Duration::from_millis(5);

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

    /// Lets the source read so many lines, and hardly any more. Its router keeps credits.
    async fn step(harness: &mut Harness, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..count {
            harness.let_go().await;
            lines.extend(harness.take(1).await);
        }
        lines
    }

    /// Lets `poll` pass three times while the source has more to read of a file with large lines; what it reads meanwhile.
    async fn polled_while_busy(harness: &mut Harness) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..3 {
            tokio::time::advance(POLL).await;
            // More than the source reads of one file before it looks at the others.
            lines.extend(step(harness, 30).await);
        }
        lines
    }

    fn large_lines(count: usize) -> String {
        let data = format!(r#","data":"{}"}}"#, "x".repeat(200_000));
        let line = event_line("large").replace('}', &data) + "\n";
        line.repeat(count)
    }

    #[actix::test]
    async fn a_rotation_is_seen_while_another_file_has_more_to_read() {
        tokio::time::pause();
        let folder = tempfile::tempdir().expect("a folder");
        let [rotated, busy] = ["a.log", "b.log"].map(|name| folder.path().join(name));
        append(&rotated, &format!("{}\n", event_line("first")));
        append(&busy, &large_lines(150));
        let mut harness = start(&folder.path().join("*.log"));
        harness.hold(true).await;
        assert_eq!(ids(&harness.take(1).await), ["first"]);
        std::fs::rename(&rotated, folder.path().join("a.log.1")).expect("renamed");
        append(&rotated, &format!("{}\n", event_line("second")));
        let lines = polled_while_busy(&mut harness).await;
        assert!(ids(&lines).contains(&"second".to_owned()));
        harness.hold(false).await;
        harness.take(151 - lines.len()).await;
        harness.stop().await;
        assert_eq!(harness.finish().await, (Ok(()), vec![]));
    }

    #[actix::test]
    async fn a_file_that_is_renamed_while_another_one_is_read_goes_on() {
        tokio::time::pause();
        let folder = tempfile::tempdir().expect("a folder");
        let [busy, before, after] =
            ["a.log", "b.log", "c.log"].map(|name| folder.path().join(name));
        append(&busy, &large_lines(150));
        append(&before, &format!("{}\n", event_line("first")));
        let mut harness = start(&folder.path().join("*.log"));
        harness.hold(true).await;
        let mut lines = step(&mut harness, 30).await;
        assert!(ids(&lines).contains(&"first".to_owned()));
        std::fs::rename(&before, &after).expect("renamed");
        lines.extend(polled_while_busy(&mut harness).await);
        append(&after, &format!("{}\n", event_line("second")));
        harness.hold(false).await;
        lines.extend(harness.take(152 - lines.len()).await);
        harness.stop().await;
        assert_eq!(harness.finish().await, (Ok(()), vec![]));
        let mut small = ids(&lines);
        small.retain(|id| id != "large");
        assert_eq!(small, ["first", "second"]);
    }

    #[actix::test]
    async fn what_is_still_written_after_a_rotation_comes_before_the_new_file() {
        tokio::time::pause();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        append(&path, &format!("{}\n", event_line("1")));
        let mut harness = start(&folder.path().join("*.log"));
        assert_eq!(ids(&harness.take(1).await), ["1"]);
        let mut writer = OpenOptions::new().append(true).open(&path).expect("open");
        std::fs::rename(&path, folder.path().join("a.log.1")).expect("renamed");
        append(&path, &format!("{}\n", event_line("3")));
        // The source looks once meanwhile.
        let passes = tokio::time::timeout(POLL, std::future::pending::<()>());
        assert!(passes.await.is_err());
        writeln!(writer, "{}", event_line("2")).expect("written");
        assert_eq!(ids(&harness.take(2).await), ["2", "3"]);
        harness.stop().await;
        assert_eq!(harness.finish().await, (Ok(()), vec![]));
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
