//! The file sink as its actor uses it.

mod durability;

use std::fs;
use std::path::Path;

use veltrix_actors::{AnySink, EventBatch, Sink, SinkFactory, Trial};

use super::open_files::OpenFiles;
use super::template::Template;
use super::{FileOptions, Writing, prepare};

fn options(json: &str) -> FileOptions {
    serde_json::from_str(json).unwrap()
}

fn event(event_type: &str, source: &str, id: usize) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"{source}","type":"{event_type}"}}"#)
}

fn batch(lines: &[String]) -> EventBatch {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    Trial::new("s", "h").batch(&lines).unwrap()
}

fn sink(dir: &Path, path: &str, rest: &str) -> Box<dyn Sink> {
    let path = dir.join(path);
    let json = format!(r#"{{"path":"{}"{rest}}}"#, path.display());
    match prepare(options(&json), "ledger").unwrap().build().unwrap() {
        AnySink::Sync(sink) => sink,
        AnySink::Async(_) => panic!("files are written at once"),
    }
}

fn append_all(sink: &mut dyn Sink, batch: &EventBatch) {
    for event in batch.iter() {
        sink.append(&event).unwrap();
    }
}

#[test]
fn each_type_has_its_file_and_nothing_is_written_before_the_flush() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), "out/{type}.ndjson", r#","sync":"interval""#);
    let lines: Vec<String> = (0..6)
        .map(|id| event(["a", "b", "../c"][id % 3], "/s", id))
        .collect();
    append_all(&mut *sink, &batch(&lines));
    assert!(!dir.path().join("out").exists());
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    assert_eq!(sink.buffered_bytes(), bytes);
    sink.flush().unwrap();
    assert_eq!(sink.buffered_bytes(), 0);
    for (name, first) in [("a", 0), ("b", 1), ("..%2Fc", 2)] {
        let text = fs::read_to_string(dir.path().join(format!("out/{name}.ndjson"))).unwrap();
        assert_eq!(text, format!("{}\n{}\n", lines[first], lines[first + 3]));
    }
}

#[test]
fn more_files_than_may_be_open_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), "{source}.{type}", r#","open_files":2"#);
    let lines: Vec<String> = (0..70)
        .map(|id| event("t", &format!("s{}", id % 7), id))
        .collect();
    append_all(&mut *sink, &batch(&lines));
    sink.flush().unwrap();
    for source in 0..7 {
        let text = fs::read_to_string(dir.path().join(format!("s{source}.t"))).unwrap();
        let expected: String = (0..10)
            .map(|round| format!("{}\n", lines[round * 7 + source]))
            .collect();
        assert_eq!(text, expected);
    }
}

#[test]
fn a_file_that_fails_keeps_its_lines_and_not_those_of_others() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad"), "").unwrap();
    let path = format!("{}/{{type}}/x", dir.path().display());
    let mut files = OpenFiles::new(Template::parse(&path).unwrap(), 1, Writing::default());
    let lines: Vec<String> = ["bad", "good", "bad", "good"]
        .iter()
        .enumerate()
        .map(|(id, event_type)| event(event_type, "/s", id))
        .collect();
    let batch = batch(&lines);
    for event in batch.iter() {
        files.append(&event);
    }
    let error = files.flush().unwrap_err();
    assert!(error.contains("bad/x`"), "{error}");
    assert_eq!(files.buffered_bytes(), lines[0].len() + lines[2].len() + 2);
    let good = fs::read_to_string(dir.path().join("good/x")).unwrap();
    assert_eq!(good, format!("{}\n{}\n", lines[1], lines[3]));
    fs::remove_file(dir.path().join("bad")).unwrap();
    files.flush().unwrap();
    let bad = fs::read_to_string(dir.path().join("bad/x")).unwrap();
    assert_eq!(bad, format!("{}\n{}\n", lines[0], lines[2]));
    assert_eq!((files.len(), files.buffered_bytes()), (1, 0));
    files.append(&batch.event(0));
    files.flush().unwrap();
    assert!(
        fs::read_to_string(dir.path().join("bad/x"))
            .unwrap()
            .ends_with(&format!("{}\n", lines[0]))
    );
}

#[test]
fn the_day_changes_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = format!("{}/{{date}}", dir.path().display());
    let mut files = OpenFiles::new(Template::parse(&path).unwrap(), 8, Writing::default());
    let batch = batch(&[event("t", "/s", 1)]);
    for day in [0, 1, 1] {
        files.set_day(day);
        files.append(&batch.event(0));
    }
    files.flush().unwrap();
    let count = |name: &str| {
        fs::read_to_string(dir.path().join(name))
            .unwrap()
            .lines()
            .count()
    };
    assert_eq!((count("1970-01-01"), count("1970-01-02")), (1, 2));
}

#[test]
fn every_problem_is_told_with_its_key() {
    let json = r#"{"path":"{kind}","open_files":0,"rotate":{"size":"1B","keep":0}}"#;
    let problems = prepare(options(json), "ledger").unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["open_files", "rotate.size", "rotate.keep", "path"]);
    let problems = prepare(options(r#"{"path":"x/{type}","rotate":{}}"#), "ledger").unwrap_err();
    assert!(problems[0].1.contains("`{type}.ndjson`"));
}
