//! Every source in the real binary: what goes in comes out, and a drain loses and repeats nothing.

#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use process::{Process, connect, event_line, ids, read_answer, request, unless_closed};
use serde_json::Value;

const WIRING: &str = r#"
handlers:
  all: { on: ">", type: pass, to: [out] }
sinks:
  out: { type: stdout }
"#;

fn config(sources: &str) -> String {
    format!("service: {{ name: test }}\nsources:\n{sources}{WIRING}")
}

fn lines(range: std::ops::Range<usize>) -> String {
    range
        .map(|id| format!("{}\n", event_line(&id.to_string())))
        .collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|id| id.to_string()).collect()
}

#[test]
fn stdin_is_read_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::start_in(
        folder,
        &config("  lines: { type: stdin }\n"),
        Stdio::piped(),
    );
    let mut input = process.input();
    let writer = std::thread::spawn(move || {
        let all = format!("{}nope\n\r\n{}", lines(0..20_000), event_line("20000"));
        input.write_all(all.as_bytes()).expect("written");
    });
    let ended = process.wait();
    writer.join().expect("no panic");
    ended.assert_drained();
    assert_eq!(ids(&ended.output), numbers(0..20_001));
    let summary = ended.source("lines");
    assert_eq!(
        (
            &summary["received"],
            &summary["accepted"],
            &summary["rejected"]
        ),
        (&20_002.into(), &20_001.into(), &1.into())
    );
    let warning = ended
        .logs
        .iter()
        .find(|record| record["message"] == "a line was refused" || record["reason"] == "not_json");
    assert_eq!(warning.expect("a warning")["line"], 20_001);
}

#[test]
fn an_idle_stdin_does_not_hold_up_a_drain() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::start_in(
        folder,
        &config("  lines: { type: stdin }\n"),
        Stdio::piped(),
    );
    let mut input = process.input();
    writeln!(input, "{}", event_line("a")).expect("written");
    assert_eq!(ids(&[process.line()]), ["a"]);
    let ended = process.stop();
    ended.assert_drained();
    drop(input);
}

#[test]
fn plain_lines_are_wrapped() {
    let source = "  lines: { type: stdin, envelope: { type: \"'log.' + line.level\", source: \"'/app'\", id: line.id, subject: line.user } }\n";
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::start_in(folder, &config(source), Stdio::piped());
    let mut input = process.input();
    let text =
        "{\"level\":\"warn\",\"id\":\"7\",\"user\":\"u\",\"n\":1.50}\nplain text\n{\"id\":\"8\"}\n";
    input.write_all(text.as_bytes()).expect("written");
    drop(input);
    let ended = process.wait();
    ended.assert_drained();
    let event: Value = serde_json::from_str(&ended.output[0]).expect("JSON");
    assert_eq!(ended.output.len(), 1);
    assert_eq!(
        (
            &event["type"],
            &event["source"],
            &event["id"],
            &event["subject"]
        ),
        (&"log.warn".into(), &"/app".into(), &"7".into(), &"u".into())
    );
    assert!(ended.output[0].ends_with(r#""data":{"level":"warn","id":"7","user":"u","n":1.50}}"#));
    assert_eq!(ended.source("lines")["rejected"], 2);
}

#[test]
fn wrapped_lines_get_ids_of_their_own() {
    let source = "  lines: { type: stdin, envelope: { type: \"'log'\", source: \"'/app'\" } }\n";
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::start_in(folder, &config(source), Stdio::piped());
    let mut input = process.input();
    input.write_all(b"1\n1\n").expect("written");
    drop(input);
    let ended = process.wait();
    ended.assert_drained();
    let ids = ids(&ended.output);
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
}

#[test]
fn files_are_read_once_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("in")).expect("a folder");
    std::fs::write(folder.path().join("in/b.ndjson"), lines(3_000..3_005)).expect("written");
    std::fs::write(
        folder.path().join("in/a.ndjson"),
        lines(0..3_000).trim_end(),
    )
    .expect("written");
    let source = "  backfill: { type: file, path: \"in/*.ndjson\", follow: false }\n";
    let ended = Process::start_in(folder, &config(source), Stdio::null()).wait();
    ended.assert_drained();
    assert_eq!(ids(&ended.output), numbers(0..3_005));
}

#[test]
fn a_glob_that_matches_nothing_ends_the_process_with_its_name() {
    let ended = Process::start(&config(
        "  backfill: { type: file, path: \"in/*.ndjson\" }\n",
    ))
    .wait();
    assert_eq!(ended.status.code(), Some(70));
    let told = |record: &Value| record.to_string().contains("no file matches `in/*.ndjson`");
    assert!(ended.logs.iter().any(told), "{:#?}", ended.logs);
}

#[test]
fn followed_files_are_read_as_they_grow() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.log");
    std::fs::write(&path, lines(0..2)).expect("written");
    let source = "  logs: { type: file, path: app.log, follow: true, poll: 10ms }\n";
    let mut process = Process::start_in(folder, &config(source), Stdio::null());
    assert_eq!(ids(&[process.line(), process.line()]), ["0", "1"]);
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("a file");
    file.write_all(lines(2..3).as_bytes()).expect("written");
    assert_eq!(ids(&[process.line()]), ["2"]);
    std::fs::rename(&path, path.with_extension("old")).expect("renamed");
    std::fs::write(&path, lines(3..4)).expect("written");
    assert_eq!(ids(&[process.line()]), ["3"]);
    process.stop().assert_drained();
}

#[test]
fn generated_events_are_the_same_for_a_seed() {
    let source = "  demo: { type: generate, rate: max, count: 5000, seed: 7, types: { order.created: 3, order.paid: 1 } }\n";
    let run = |source: &str| {
        let ended = Process::start(&config(source)).wait();
        ended.assert_drained();
        ended.output
    };
    let first = run(source);
    assert_eq!(first.len(), 5_000);
    assert_eq!(first, run(source));
    assert_ne!(first, run(&source.replace("seed: 7", "seed: 8")));
}

#[test]
fn many_connections_are_answered_batch_by_batch() {
    let mut process = Process::start(&config(
        "  feed: { type: tcp, listen: \"127.0.0.1:0\", ack: true }\n",
    ));
    let address = process.address("feed");
    let send = move |first: usize| {
        let mut stream = connect(address);
        stream
            .write_all(lines(first..first + 500).as_bytes())
            .expect("sent");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("shut down");
        let answers = BufReader::new(stream).lines().map(|line| {
            let answer: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
            answer["accepted"].as_u64().expect("a number")
        });
        answers.sum::<u64>()
    };
    let senders: Vec<_> = (0..20)
        .map(|n| std::thread::spawn(move || send(n * 500)))
        .collect();
    let accepted: u64 = senders
        .into_iter()
        .map(|sender| sender.join().expect("no panic"))
        .sum();
    assert_eq!(accepted, 10_000);
    let ended = process.stop();
    ended.assert_drained();
    let mut numbers: Vec<usize> = ids(&ended.output)
        .iter()
        .map(|id| id.parse().expect("a number"))
        .collect();
    let of_first = |n: &usize| *n < 500;
    let in_order: Vec<usize> = numbers.iter().copied().filter(of_first).collect();
    assert!(in_order.is_sorted(), "order within a connection");
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..10_000));
}

#[test]
fn connections_are_drained_under_load() {
    let mut process = Process::start(&config(
        "  feed: { type: tcp, listen: \"127.0.0.1:0\", ack: true }\n",
    ));
    let address = process.address("feed");
    let stream = connect(address);
    let mut writer = stream.try_clone().expect("a connection");
    let flood = std::thread::spawn(move || {
        for block in 0.. {
            if writer
                .write_all(lines(block * 100..block * 100 + 100).as_bytes())
                .is_err()
            {
                return;
            }
        }
    });
    let mut answers = BufReader::new(stream);
    let mut accepted = 0;
    let mut count = |line: &str| {
        let answer: Value = serde_json::from_str(line).expect("JSON");
        accepted += answer["accepted"].as_u64().expect("a number");
    };
    let mut line = String::new();
    answers.read_line(&mut line).expect("an answer");
    count(&line);
    let stopper = std::thread::spawn(move || process.stop());
    let mut rest = String::new();
    // The connection may be reset, since more was sent than was read; what was answered before has arrived.
    unless_closed(answers.read_to_string(&mut rest).map(|_| ()));
    rest.lines()
        .filter(|line| line.ends_with('}'))
        .for_each(&mut count);
    let ended = stopper.join().expect("no panic");
    flood.join().expect("no panic");
    ended.assert_drained();
    let ids = ids(&ended.output);
    assert!(ids.len() as u64 >= accepted, "{} of {accepted}", ids.len());
    assert_eq!(ids, numbers(0..ids.len()), "each once, in order");
}

#[test]
fn http_takes_one_shot_and_kept_connections_and_drains() {
    let mut process = Process::start(&config(
        "  web: { type: http, listen: \"127.0.0.1:0\", auth: { bearer: secret } }\n",
    ));
    let address = process.address("web");
    let headers = [
        ("Content-Type", "application/cloudevents+json"),
        ("Authorization", "Bearer secret"),
    ];
    let answer = request(
        address,
        "POST",
        "/events",
        &headers,
        event_line("0").as_bytes(),
    );
    assert_eq!(answer.status, 202);
    assert_eq!(
        request(address, "POST", "/events", &headers[..1], b"").status,
        401
    );
    let mut kept = connect(address);
    for id in 1..50 {
        let body = event_line(&id.to_string());
        let head = format!(
            "POST /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Type: application/cloudevents+json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        kept.write_all(format!("{head}{body}").as_bytes())
            .expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            kept.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 202"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    let ended = process.stop();
    ended.assert_drained();
    assert_eq!(ids(&ended.output), numbers(0..50));
    assert_eq!(
        read_answer(&mut kept).status,
        0,
        "the kept connection is closed"
    );
}

#[test]
fn a_taken_port_is_named_and_ends_the_process() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    for kind in ["http", "tcp"] {
        let ended = Process::start(&config(&format!(
            "  web: {{ type: {kind}, listen: \"{address}\" }}\n"
        )))
        .wait();
        assert_eq!(ended.status.code(), Some(70), "{:#?}", ended.logs);
        let told = |record: &Value| {
            record
                .to_string()
                .contains(&format!("cannot listen on {address}"))
        };
        assert!(ended.logs.iter().any(told), "{:#?}", ended.logs);
    }
}
