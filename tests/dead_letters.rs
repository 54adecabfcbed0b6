//! What becomes of events that were given up, in the real binary: kept, bounded, copied, and read by the API and the CLI.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "support/stub_server.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod stub_server;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output};

use folder::{Folder, event};
use metrics::Metrics;
use process::{Answer, Ended, Process, request};
use serde_json::{Value, json};
use stub_server::{Receiver, answer};

/// A process with one handler; it takes lines over TCP, so that it goes on until it is told to stop.
struct Running {
    process: Process,
    admin: SocketAddr,
    input: SocketAddr,
    sent: usize,
}

impl Running {
    fn start(handler: &Value, more: Value) -> Self {
        let mut config = json!({
            "service": { "admin": { "listen": "127.0.0.1:0" } },
            "sources": { "in": { "type": "tcp", "listen": "127.0.0.1:0" } },
            "handlers": { "tried": handler },
            // Floods of dead letters are what is tried.
            "supervision": { "breaker": { "dead_letter_ratio": 1 } },
            "sinks": { "out": { "type": "blackhole" } },
        });
        merge(&mut config, more);
        let mut process = Process::start(&config.to_string());
        Self {
            admin: process.admin(),
            input: process.address("in"),
            process,
            sent: 0,
        }
    }

    /// Sends lines and waits until all of their events are finished.
    fn send(&mut self, lines: &[String]) {
        let mut stream = process::connect(self.input);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        stream.write_all(text.as_bytes()).expect("sent");
        drop(stream);
        self.sent += lines.len();
        let (sent, admin) = (self.sent as f64, self.admin);
        self.process.until("the events' end", || {
            Metrics::of(admin).source("finished", "in") == sent
        });
    }

    fn get(&self, path: &str) -> Answer {
        request(self.admin, "GET", path, &[], b"")
    }

    fn list(&self, query: &str) -> Value {
        let answer = self.get(&format!("/api/dead-letters{query}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        event(&answer.body)
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let admin = self.admin.to_string();
        cli(&[&["dead-letters"], arguments, &["--admin", &admin]].concat())
    }

    fn stop(self) -> Ended {
        let ended = self.process.stop();
        ended.assert_drained();
        ended
    }
}

/// Lays objects over objects.
fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                merge(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

fn cli(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(arguments)
        .env_remove("VELTRIX_CONFIG")
        .output()
        .expect("the binary")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn line(id: &str, event_type: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"{event_type}","data":{data}}}"#
    )
}

/// Its events have no quantity, so that each of them is given up at once.
fn broken() -> Value {
    json!({ "on": "t", "type": "map", "set": { "data.total": "data.quantity" }, "to": "out" })
}

fn poison(count: usize) -> Vec<String> {
    (0..count)
        .map(|id| line(&id.to_string(), "t", r#"{"price":1}"#))
        .collect()
}

fn sequences(page: &Value) -> Vec<u64> {
    let letters = page["dead_letters"].as_array().expect("a list");
    let sequence = |letter: &Value| letter["sequence"].as_u64().expect("a number");
    letters.iter().map(sequence).collect()
}

#[test]
fn a_poison_events_story_is_told_by_the_api_and_by_the_command_line() {
    let receiver = Receiver::start(|request, number| match request.body.contains("poison") {
        true => answer("503 Unavailable", "text/plain", &format!("busy {number}")),
        false => answer("204 No Content", "text/plain", ""),
    });
    let handler = json!({
        "on": "t", "type": "http", "url": receiver.url(), "to": "out",
        "supervision": { "attempts": 3, "backoff": { "min": "1ms", "max": "2ms" } },
    });
    let mut running = Running::start(&handler, json!({}));
    running.send(&[line("1", "t", "\"poison\""), line("2", "t", "\"fine\"")]);

    let page = running.list("");
    assert_eq!(sequences(&page), [1]);
    let found = &page["dead_letters"][0];
    assert_eq!(
        (&found["branch"], &found["class"], &found["attempt_count"]),
        (&json!("handler.tried"), &json!("error"), &json!(3))
    );
    assert_eq!((&found["id"], &found["type"]), (&json!("1"), &json!("t")));
    assert!(found.get("event").is_none(), "{found}");

    let story = event(&running.get("/api/dead-letters/1").body);
    assert_eq!(story["event"], event(&line("1", "t", "\"poison\"")));
    let attempts = story["attempts"].as_array().expect("a list");
    let reasons: Vec<&str> = attempts
        .iter()
        .filter_map(|one| one["reason"].as_str())
        .collect();
    let expected = ["busy 0", "busy 1", "busy 2"];
    assert!(
        reasons
            .iter()
            .zip(expected)
            .all(|(reason, busy)| reason.contains(busy)),
        "{story}"
    );
    assert_eq!(story["reason"], reasons[2]);
    let times: Vec<&str> = attempts
        .iter()
        .filter_map(|one| one["at"].as_str())
        .collect();
    assert!(times.len() == 3 && times.is_sorted(), "{story}");
    assert!(
        story["at"].as_str().is_some_and(|at| times[2] <= at),
        "{story}"
    );
    assert_eq!(story["config_version"].as_str().map(str::len), Some(16));

    let text = printed(&running.ask(&["list"]));
    assert!(
        text.contains("handler.tried") && text.contains("busy 2"),
        "{text}"
    );
    assert!(text.ends_with("\n1 kept\n"), "{text}");
    let text = printed(&running.ask(&["show", "1"]));
    assert!(
        text.contains("attempts: 3") && text.contains("busy 0"),
        "{text}"
    );
    assert!(text.contains("\"data\": \"poison\""), "{text}");
    assert_eq!(event(&printed(&running.ask(&["list", "-o", "json"]))), page);
    assert_eq!(
        event(&printed(&running.ask(&["show", "1", "-o", "json"]))),
        story
    );

    let metrics = Metrics::of(running.admin);
    let series = r#"veltrix_dead_letters_total{handler="tried",class="error"}"#;
    assert_eq!(metrics.get(series), 1.0);
    running.stop();
}

#[test]
fn past_the_bound_the_oldest_goes_by_a_named_rule_and_nothing_is_unbalanced() {
    let more = json!({
        "sources": { "in": { "durability": "none" } }, "dead_letters": { "max_in_memory": 10 },
    });
    let mut running = Running::start(&broken(), more);
    running.send(&poison(3_000));
    let page = running.list("");
    assert_eq!(
        sequences(&page),
        (2_991..=3_000).rev().collect::<Vec<u64>>()
    );
    assert_eq!(
        (&page["kept"], &page["overflowed"]),
        (&json!(10), &json!(2_990))
    );
    let metrics = Metrics::of(running.admin);
    let series = r#"veltrix_dropped_total{rule="dead-letter-overflow"}"#;
    assert_eq!(metrics.get(series), 2_990.0);
    let ended = running.stop();
    let summary = ended.summary();
    // Each event is one thing only: a dead letter.
    assert_eq!(
        (
            &summary["accepted"],
            &summary["dead_lettered"],
            &summary["dropped"]
        ),
        (&json!(3_000), &json!(3_000), &json!(0))
    );
    let dropped = ended.records("dropped by rule");
    assert_eq!(dropped[0]["rule"], "dead-letter-overflow");
    assert_eq!(dropped[0]["dropped"], 2_990);
}

#[test]
fn dead_letters_take_their_part_of_the_memory_and_no_more() {
    let more = json!({
        "sources": { "in": { "durability": "none" } }, "service": { "memory": "1MiB" },
    });
    let mut running = Running::start(&broken(), more);
    let data = json!({ "filler": "x".repeat(20_000) }).to_string();
    let events: Vec<String> = (0..100)
        .map(|id| line(&id.to_string(), "t", &data))
        .collect();
    running.send(&events);
    let page = running.list("");
    let kept = page["kept"].as_u64().expect("a number");
    assert!((10..=13).contains(&kept), "{kept} of 20 kB each in 256 KiB");
    assert_eq!(page["overflowed"], 100 - kept);
    running.stop();
}

#[test]
fn pages_and_filters_find_each_dead_letter_once() {
    let mut running = Running::start(&broken(), json!({}));
    let of_both = |id: usize| match id % 2 {
        0 => line(&id.to_string(), "t", "{}"),
        _ => line(&id.to_string(), "nobodys", "{}"),
    };
    running.send(&(0..50).map(of_both).collect::<Vec<_>>());
    for (query, count) in [
        ("handler=tried", 25),
        ("class=unroutable", 25),
        ("type=t&class=error&handler=tried", 25),
        ("type=nobodys&class=error", 0),
        ("handler=other", 0),
        ("limit=1000", 50),
    ] {
        assert_eq!(
            sequences(&running.list(&format!("?{query}"))).len(),
            count,
            "{query}"
        );
    }
    let mut found = Vec::new();
    let mut query = "?type=t&limit=7".to_owned();
    loop {
        let page = running.list(&query);
        found.extend(sequences(&page));
        match page["next_after"].as_u64() {
            Some(after) => query = format!("?type=t&limit=7&after={after}"),
            None => break,
        }
    }
    assert!(
        found.len() == 25 && found.is_sorted_by(|a, b| a > b),
        "{found:?}"
    );
    let first = running.ask(&["list", "--type", "t", "--limit", "24", "-o", "json"]);
    let first = event(&printed(&first));
    let after = first["next_after"].to_string();
    let rest = printed(&running.ask(&["list", "--type", "t", "--after", &after, "-o", "json"]));
    assert_eq!(sequences(&event(&rest)), found[24..]);
    running.stop();
}

#[test]
fn a_sink_gets_each_dead_letter_as_an_event_before_the_event_is_finished() {
    let folder = Folder::new();
    let more = json!({
        "sinks": { "graves": { "type": "file", "path": folder.path("graves") } },
        "sources": { "in": { "durability": "none" } },
        "dead_letters": { "also_to": "graves", "max_in_memory": 0 },
    });
    let mut running = Running::start(&broken(), more);
    let mut events = poison(2_000);
    events.push(line("u", "nobodys", "null"));
    running.send(&events);
    // No wait in between: what is finished is in the file.
    let copies = folder.events("graves");
    assert_eq!(copies.len(), 2_001);
    assert_eq!(running.list("")["kept"], 0);
    let mut inner: Vec<String> = Vec::new();
    for copy in &copies {
        assert_eq!(copy["type"], "veltrix.dead-letter");
        let data = &copy["data"];
        assert_eq!(copy["causationid"], data["event"]["id"]);
        inner.push(data["event"].to_string());
    }
    let mut expected: Vec<String> = events.iter().map(|line| event(line).to_string()).collect();
    inner.sort();
    expected.sort();
    assert_eq!(inner, expected);
    let of_router = copies
        .iter()
        .find(|copy| copy["data"]["branch"] == "router");
    let of_router = of_router.expect("nobody wanted one of them");
    assert_eq!(of_router["source"], "/veltrix/veltrix/dead-letters.router");
    assert_eq!(of_router["id"], "u.dead-letters.router.0");
    let metrics = Metrics::of(running.admin);
    assert_eq!(metrics.sink("offered", "graves"), 2_001.0);
    assert_eq!(metrics.sink("delivered", "graves"), 2_001.0);
    running.stop();
}

#[test]
fn a_sink_that_refuses_dead_letters_gets_none_of_its_own_back() {
    let receiver = Receiver::start(|_, _| answer("400 Bad Request", "text/plain", "never"));
    let more = json!({
        "sinks": { "graves": { "type": "http", "url": receiver.url() } },
        "dead_letters": { "also_to": "graves" },
    });
    let mut running = Running::start(&broken(), more);
    running.send(&poison(5));
    assert_eq!(receiver.requests().len(), 5);
    let letters = running.list("?limit=1000")["dead_letters"].clone();
    let of = |branch: &str| {
        let letters = letters.as_array().expect("a list");
        letters
            .iter()
            .filter(|letter| letter["branch"] == branch)
            .count()
    };
    assert_eq!((of("handler.tried"), of("sink.graves")), (5, 5));
    let series = r#"veltrix_dead_letters_total{sink="graves",class="rejected"}"#;
    assert_eq!(Metrics::of(running.admin).get(series), 5.0);
    running.stop();
}

#[test]
fn a_drain_waits_until_the_sink_has_every_copy() {
    let receiver = Receiver::start(|_, number| match number {
        0..5 => answer("503 Unavailable", "text/plain", "not yet"),
        _ => answer("202 Accepted", "text/plain", ""),
    });
    let retry = json!({ "min": "1ms", "max": "5ms" });
    let more = json!({
        "sinks": { "graves": { "type": "http", "url": receiver.url(), "concurrency": 1, "retry": retry } },
        "dead_letters": { "also_to": "graves" },
    });
    let mut running = Running::start(&broken(), more);
    let mut stream = process::connect(running.input);
    let text: String = poison(20).iter().map(|line| format!("{line}\n")).collect();
    stream.write_all(text.as_bytes()).expect("sent");
    let admin = running.admin;
    running.process.until("the last event", || {
        Metrics::of(admin).source("accepted", "in") == 20.0
    });
    running.stop();
    // The first one came six times, and no other before it was taken.
    let causes: Vec<Value> = receiver
        .requests()
        .iter()
        .map(|request| event(&request.body)["data"]["event"]["id"].clone())
        .collect();
    let first = (0..5).map(|_| 0);
    let expected: Vec<Value> = first.chain(0..20).map(|id| json!(id.to_string())).collect();
    assert_eq!(causes, expected);
}

#[test]
fn what_cannot_be_answered_is_a_problem_that_says_why() {
    let mut running = Running::start(&broken(), json!({}));
    running.send(&poison(1));
    for (path, status, detail) in [
        (
            "?limit=0",
            400,
            "`limit` must be a whole number from 1 to 1000, not `0`",
        ),
        (
            "?limit=all",
            400,
            "`limit` must be a whole number from 1 to 1000, not `all`",
        ),
        (
            "?after=-1",
            400,
            "`after` must be the number of a dead letter, not `-1`",
        ),
        (
            "?class=bad",
            400,
            "`class` must be one of panic, error, timeout, rejected, unroutable, oversize, loop, not `bad`",
        ),
        (
            "?colour=1",
            400,
            "there is no parameter `colour`; known: handler, sink, class, type, from, to, id, limit, after",
        ),
        (
            "/x",
            400,
            "`x` is not the number of a dead letter; `/api/dead-letters` lists them",
        ),
        (
            "/2",
            404,
            "there is no dead letter 2: there never was one, it was replayed or purged, or it had to go for newer ones",
        ),
    ] {
        let answer = running.get(&format!("/api/dead-letters{path}"));
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(event(&answer.body)["detail"], detail, "{path}");
    }
    for (arguments, code, message) in [
        (&["show", "2"][..], 1, "error: there is no dead letter 2"),
        (
            &["list", "--class", "bad"],
            2,
            "error: `class` must be one of panic",
        ),
        (&["show", "x"], 2, "invalid value 'x'"),
    ] {
        assert_fails(&running.ask(arguments), code, message);
    }
    running.stop();
}

#[test]
fn a_process_that_cannot_be_asked_is_told_with_what_to_do() {
    let folder = Folder::new();
    let config = |name: &str, service: Value| {
        let config =
            json!({ "service": service, "sources": { "in": { "type": "stdin" } }, "sinks": {} });
        folder.write(name, &[config.to_string()])
    };
    let list = |config: &str| cli(&["dead-letters", "list", "-c", config]);
    let off = list(&config("off.json", json!({})));
    assert_fails(
        &off,
        1,
        "the admin server is off unless `service.admin.listen` is set",
    );
    let any_port = config("any.json", json!({ "admin": { "listen": "127.0.0.1:0" } }));
    assert_fails(&list(&any_port), 1, "`--admin URL`");
    let bad = config("bad.json", json!({ "admin": { "listen": "nowhere" } }));
    assert_fails(&list(&bad), 78, "service.admin.listen");
    assert_fails(&list(&folder.path("missing.json")), 78, "does not exist");
    assert_fails(
        &cli(&["dead-letters", "list", "--admin", "ftp://x"]),
        2,
        "use `http` or `https`",
    );

    let mut running = Running::start(&broken(), json!({}));
    running.send(&poison(1));
    let known = config(
        "known.json",
        json!({ "admin": { "listen": running.admin.to_string() } }),
    );
    assert!(printed(&list(&known)).contains("1 kept"));
    running.stop();
    assert_fails(&list(&known), 1, "is the process running");
    // What answers there may be no veltrix at all.
    let stranger = Receiver::start(|_, _| answer("404 Not Found", "text/plain", "who?"));
    let stranger = cli(&["dead-letters", "list", "--admin", &stranger.url()]);
    assert_fails(&stranger, 1, "is it the admin server of a veltrix");
}

fn assert_fails(output: &Output, code: i32, message: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(message), "{error}");
    assert!(output.stdout.is_empty(), "{output:?}");
}
