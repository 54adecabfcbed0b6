//! Tests: what a source reads that another process has read before, after whatever became of the files in between.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use veltrix_actors::CursorStore;

use super::super::testing::{Harness, event_line, ids};
use super::{FileFactory, prepare};

/// A disk that outlives the source.
#[derive(Default)]
struct Disk(Mutex<Option<Vec<u8>>>);

impl CursorStore for Disk {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().expect("no panic").clone())
    }

    fn save(&self, place: &[u8]) -> io::Result<()> {
        *self.0.lock().expect("no panic") = Some(place.to_vec());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A folder of inputs, and the disk with the cursor.
struct World {
    folder: tempfile::TempDir,
    disk: Arc<Disk>,
    pattern: &'static str,
}

impl World {
    fn new(pattern: &'static str) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            disk: Arc::default(),
            pattern,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path(name));
        let mut file = file.expect("a file");
        file.write_all(text.as_bytes()).expect("written");
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).expect("renamed");
    }

    fn factory(&self, follow: bool) -> FileFactory {
        let path = self.path(self.pattern);
        let options = serde_json::json!({ "path": path, "follow": follow, "poll": "5ms" });
        let options = serde_json::from_value(options).expect("options");
        prepare(options, None).expect("valid options")
    }

    fn start(&self, follow: bool) -> Harness {
        Harness::start_upstream(self.factory(follow), self.disk.clone())
    }

    /// What a process reads that ends with the files.
    async fn read_once(&self) -> Vec<String> {
        let (result, lines) = self.start(false).finish().await;
        assert_eq!(result, Ok(()));
        ids(&lines)
    }

    /// What a process that follows reads until it has so many events.
    async fn follow(&self, count: usize) -> Vec<String> {
        let mut harness = self.start(true);
        let mut lines = harness.take(count).await;
        harness.stop().await;
        let (result, rest) = harness.finish().await;
        assert_eq!(result, Ok(()));
        lines.extend(rest);
        ids(&lines)
    }
}

fn lines(range: Range<u32>) -> String {
    range
        .map(|id| format!("{}\n", event_line(&id.to_string())))
        .collect()
}

fn numbers(range: Range<u32>) -> Vec<String> {
    range.map(|id| id.to_string()).collect()
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).expect("a file").ino()
}

#[actix::test]
async fn the_next_run_reads_what_has_grown_and_what_is_new() {
    let world = World::new("*.ndjson");
    world.append("a.ndjson", &lines(0..3_000));
    world.append("b.ndjson", &lines(3_000..3_010));
    assert_eq!(world.read_once().await, numbers(0..3_010));
    assert_eq!(world.read_once().await, numbers(0..0));
    world.append("a.ndjson", &lines(3_010..3_012));
    world.append("c.ndjson", &lines(3_012..3_013));
    assert_eq!(world.read_once().await, numbers(3_010..3_013));
    world.rename("a.ndjson", "d.ndjson");
    world.append("d.ndjson", &lines(3_013..3_014));
    assert_eq!(world.read_once().await, numbers(3_013..3_014));
}

#[actix::test]
async fn another_file_of_the_same_name_is_read_from_its_start() {
    let world = World::new("a");
    world.append("a", &lines(0..100));
    assert_eq!(world.read_once().await, numbers(0..100));
    world.append("new", &lines(0..200));
    world.rename("new", "a");
    assert_eq!(world.read_once().await, numbers(0..200));
}

#[actix::test]
async fn a_file_that_was_rewritten_in_place_is_read_from_its_start_however_long_it_is() {
    let world = World::new("a");
    world.append("a", &lines(100..200));
    assert_eq!(world.read_once().await, numbers(100..200));
    let before = inode(&world.path("a"));
    for range in [500..550, 600..800] {
        std::fs::write(world.path("a"), lines(range.clone())).expect("rewritten");
        assert_eq!(inode(&world.path("a")), before);
        assert_eq!(world.read_once().await, numbers(range));
        assert_eq!(world.read_once().await, numbers(0..0));
    }
}

#[actix::test]
async fn a_last_line_that_is_no_event_yet_is_looked_at_again() {
    let world = World::new("a");
    let torn = lines(2..3);
    world.append("a", &format!("{}{}", lines(0..2), &torn[..20]));
    assert_eq!(world.read_once().await, numbers(0..2));
    world.append("a", torn[20..].trim_end());
    assert_eq!(world.read_once().await, numbers(2..3));
    world.append("a", &format!("\n{}", lines(3..4)));
    assert_eq!(world.read_once().await, numbers(3..4));
}

#[actix::test]
async fn a_line_that_is_too_long_is_skipped_whole_even_if_the_process_ends_in_it() {
    let world = World::new("a");
    let long = format!("{}{}", "x".repeat(3 << 20), lines(7..8));
    world.append("a", &format!("{}{long}{}", lines(0..1), lines(1..2)));
    let mut harness = world.start(true);
    harness.hold(true).await;
    assert_eq!(ids(&harness.take(1).await), numbers(0..1));
    harness.stop().await;
    harness.hold(false).await;
    let (result, rest) = harness.finish().await;
    assert_eq!(result, Ok(()));
    let mut read = ids(&rest);
    read.extend(world.read_once().await);
    assert_eq!(read, numbers(1..2));
}

#[actix::test]
async fn a_follower_goes_on_in_files_that_were_rotated_while_it_was_down() {
    let world = World::new("app.log");
    world.append("app.log", &lines(0..2));
    assert_eq!(world.follow(2).await, numbers(0..2));
    world.append("app.log", &lines(2..4));
    world.rename("app.log", "app.log.1");
    world.append("app.log", &lines(4..5));
    assert_eq!(world.follow(3).await, numbers(2..5));
    world.append("app.log", &lines(5..6));
    std::fs::remove_file(world.path("app.log")).expect("removed");
    world.append("app.log", &lines(6..8));
    assert_eq!(world.follow(2).await, numbers(6..8));
    world.append("app.log", &lines(8..9));
    assert_eq!(world.follow(1).await, numbers(8..9));
}

#[actix::test]
async fn a_file_that_is_renamed_to_a_name_that_matches_is_not_read_again() {
    let world = World::new("*.log");
    world.append("b.log", &lines(0..2));
    let mut harness = world.start(true);
    assert_eq!(ids(&harness.take(2).await), numbers(0..2));
    world.rename("b.log", "a.log");
    world.append("a.log", &lines(2..3));
    assert_eq!(ids(&harness.take(1).await), numbers(2..3));
    world.append("b.log", &lines(3..4));
    assert_eq!(ids(&harness.take(1).await), numbers(3..4));
    harness.stop().await;
    assert_eq!(harness.finish().await, (Ok(()), vec![]));
    world.append("a.log", &lines(4..5));
    assert_eq!(world.follow(1).await, numbers(4..5));
}

#[actix::test]
async fn a_truncated_file_is_read_from_its_start_by_the_same_and_the_next_process() {
    let world = World::new("app.log");
    world.append("app.log", &lines(0..20));
    let mut harness = world.start(true);
    harness.take(20).await;
    std::fs::write(world.path("app.log"), lines(20..21)).expect("truncated");
    assert_eq!(ids(&harness.take(1).await), numbers(20..21));
    harness.stop().await;
    assert_eq!(harness.finish().await.0, Ok(()));
    world.append("app.log", &lines(21..22));
    assert_eq!(world.follow(1).await, numbers(21..22));
    std::fs::write(world.path("app.log"), lines(22..23)).expect("truncated");
    assert_eq!(world.follow(1).await, numbers(22..23));
}

#[test]
fn wrong_options_are_named() {
    let options = r#"{"path":["a/***","ok"],"poll":"0s","max_event":"9TiB"}"#;
    let problems = prepare(serde_json::from_str(options).expect("options"), None);
    let problems = problems.err().expect("problems");
    let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["path", "poll", "max_event"]);
    let problems = prepare(
        serde_json::from_str(r#"{"path":[]}"#).expect("options"),
        None,
    );
    assert!(problems.is_err());
}
