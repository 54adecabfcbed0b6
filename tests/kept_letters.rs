//! Dead letters that outlive their process, in the real binary: found again, sent once more, purged, and never dropped.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/gate.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod gate;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "support/small_disk.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod small_disk;
#[path = "support/stub_server.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod stub_server;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use folder::{Folder, event};
use gate::Gate;
use metrics::Metrics;
use process::{Process, request};
use rustix::process::Signal;
use serde_json::{Value, json};
use small_disk::SmallDisk;
use stub_server::{Receiver, answer};

/// Where the process is asked and fed.
struct Running {
    process: Process,
    admin: SocketAddr,
    input: SocketAddr,
}

impl Running {
    fn start(config: &Value) -> Self {
        let mut process = Process::start(&config.to_string());
        Self {
            admin: process.admin(),
            input: process.address("in"),
            process,
        }
    }

    fn send(&mut self, lines: &[String]) {
        let mut stream = process::connect(self.input);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        stream.write_all(text.as_bytes()).expect("sent");
    }

    /// Waits until so many of this process's events are finished.
    fn finished(&mut self, count: usize) {
        let admin = self.admin;
        self.process.until("the events' end, written down", || {
            let metrics = Metrics::of(admin);
            metrics.source("finished", "in") == count as f64
                && metrics.get("veltrix_journal_finished") >= count as f64
        });
    }

    fn list(&self) -> Value {
        let path = "/api/dead-letters?limit=1000";
        event(&request(self.admin, "GET", path, &[], b"").body)
    }

    fn kept(&self) -> u64 {
        self.list()["kept"].as_u64().expect("a number")
    }

    /// Waits until so many dead letters are kept, and none is being replayed.
    fn until_kept(&mut self, count: u64) {
        let admin = self.admin;
        self.process.until("that many dead letters", || {
            let metrics = Metrics::of(admin);
            metrics.get("veltrix_dead_letters_kept") == count as f64
                && metrics.get("veltrix_dead_letters_replaying") == 0.0
        });
    }

    fn until_full(&mut self) {
        let admin = self.admin;
        self.process.until("the store is full", || {
            Metrics::of(admin).get("veltrix_dead_letters_full") == 1.0
        });
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let admin = self.admin.to_string();
        cli(&[arguments, &["--admin", &admin]].concat())
    }

    fn told(&self, arguments: &[&str]) -> Value {
        event(&printed(&self.ask(&[arguments, &["-o", "json"]].concat())))
    }

    fn kill(self) {
        self.process.signal(Signal::KILL);
        self.process.wait();
    }
}

fn cli(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .arg("dead-letters")
        .args(arguments)
        .env_remove("VELTRIX_CONFIG")
        .env("USER", "operator")
        .output()
        .expect("the binary")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn assert_refused(output: &Output, code: i32, why: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(why), "{error}");
}

/// A handler, and what it sends to.
fn config(folder: &Folder, handlers: Value, sinks: Value) -> Value {
    json!({
        "service": { "data_dir": folder.path("data"), "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "in": { "type": "tcp", "listen": "127.0.0.1:0" } },
        "handlers": handlers,
        "supervision": { "breaker": { "dead_letter_ratio": 1 }, "attempts": 1 },
        "sinks": sinks,
    })
}

/// Its events need a quantity.
fn counting() -> Value {
    json!({ "on": "t.>", "type": "map", "set": { "data.total": "data.quantity + 1" }, "to": "out" })
}

/// It needs none.
fn mended() -> Value {
    json!({ "on": "t.>", "type": "pass", "to": "out" })
}

fn out(folder: &Folder) -> Value {
    json!({ "out": { "type": "file", "path": folder.path("out") } })
}

fn line(id: usize, event_type: &str, data: &Value) -> String {
    let id = id.to_string();
    json!({ "specversion": "1.0", "id": id, "source": "/test", "type": event_type, "data": data })
        .to_string()
}

fn poison(count: usize, event_type: &str) -> Vec<String> {
    let event = |id| line(id, event_type, &json!({}));
    (0..count).map(event).collect()
}

fn ids(events: &[Value]) -> Vec<usize> {
    let id = |event: &Value| event["id"].as_str().and_then(|id| id.parse().ok());
    events
        .iter()
        .map(|event| id(event).expect("an id"))
        .collect()
}

fn sequences(page: &Value) -> Vec<u64> {
    let letters = page["dead_letters"].as_array().expect("a list");
    let number = |letter: &Value| letter["sequence"].as_u64();
    letters.iter().filter_map(number).collect()
}

#[test]
fn one_percent_of_poison_is_listed_exactly_and_delivered_once_by_a_replay_to_the_mended_handler() {
    let folder = Folder::new();
    let broken = config(&folder, json!({ "h": counting() }), out(&folder));
    let mut running = Running::start(&broken);
    let event_of = |id: usize| match id % 100 {
        0 => line(id, "t.x", &json!({})),
        _ => line(id, "t.x", &json!({ "quantity": 1 })),
    };
    running.send(&(0..10_000).map(event_of).collect::<Vec<_>>());
    running.finished(10_000);
    let before = running.list();
    let letters = before["dead_letters"].as_array().expect("a list").clone();
    let expected: Vec<usize> = (0..100).rev().map(|number| number * 100).collect();
    assert_eq!(ids(&letters), expected);
    running.process.stop().assert_drained();

    let whole = config(&folder, json!({ "h": mended() }), out(&folder));
    let mut running = Running::start(&whole);
    assert_eq!(
        running.list(),
        before,
        "the same ones, with the same numbers"
    );
    let dry = running.told(&["replay", "--handler", "h", "--dry-run"]);
    assert_eq!(dry["count"], 100);
    assert_eq!(running.kept(), 100);
    let told = running.told(&["replay", "--handler", "h", "--yes"]);
    assert_eq!(
        (&told["count"], &told["homeless"]),
        (&json!(100), &json!(0))
    );
    running.until_kept(0);
    running.process.stop().assert_drained();

    let delivered = folder.events("out");
    let mut all = ids(&delivered);
    all.sort_unstable();
    assert_eq!(all, (0..10_000).collect::<Vec<_>>(), "each of them once");
    let replayed: Vec<Value> = delivered
        .into_iter()
        .filter(|event| event["replayed"] == 1)
        .collect();
    let in_order: Vec<usize> = (0..100).map(|number| number * 100).collect();
    assert_eq!(ids(&replayed), in_order);
    let audit = folder.events("data/audit.ndjson");
    assert_eq!(audit.len(), 1, "a dry run is none");
    assert_eq!(audit[0]["action"], "dead-letters replay");
    assert_eq!(audit[0]["filter"], json!({ "handler": "h" }));
    assert_eq!(audit[0]["count"], 100);
    let user = audit[0]["user"].as_str().expect("a user");
    assert!(user.starts_with("operator ("), "{user}");
    assert!(
        audit[0]["peer"]
            .as_str()
            .is_some_and(|peer| peer.starts_with("127.0.0.1:"))
    );
    // And they are gone for good.
    assert_eq!(Running::start(&whole).kept(), 0);
}

#[test]
fn a_kill_in_the_middle_of_a_replay_neither_loses_a_dead_letter_nor_forgets_it() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    let mut running = Running::start(&config(&folder, json!({ "h": counting() }), out(&folder)));
    running.send(&poison(50, "t.x"));
    running.finished(50);
    let numbers = sequences(&running.list());
    // A kill here could have the journal bring the events again as well.
    running.process.stop().assert_drained();
    let handler = json!({ "on": "t.>", "type": "http", "url": gate.url(), "to": "out" });
    let whole = config(&folder, json!({ "h": handler }), out(&folder));
    let mut running = Running::start(&whole);
    assert_eq!(running.told(&["replay", "--all"])["count"], 50);
    running
        .process
        .until("one is on its way", || gate.asked() > 0);
    running.kill();

    let mut running = Running::start(&whole);
    assert_eq!(sequences(&running.list()), numbers);
    let before = gate.asked();
    gate.open();
    assert_eq!(running.told(&["replay", "--all"])["count"], 50);
    running.until_kept(0);
    assert_eq!(gate.asked() - before, 50);
    running.process.stop().assert_drained();
}

#[test]
fn a_replay_goes_to_the_branch_that_failed_only() {
    let folder = Folder::new();
    let is_mended = Arc::new(AtomicBool::new(false));
    let mending = is_mended.clone();
    let receiver = Receiver::start(move |_, _| match mending.load(Ordering::Acquire) {
        true => answer("202 Accepted", "text/plain", ""),
        false => answer("400 Bad Request", "text/plain", "never"),
    });
    let sinks = json!({
        "out": { "type": "file", "path": folder.path("out") },
        "picky": { "type": "http", "url": receiver.url() },
    });
    let handlers = json!({ "all": { "on": "t.>", "type": "pass", "to": ["out", "picky"] } });
    let mut running = Running::start(&config(&folder, handlers, sinks));
    let nobodys = line(7, "other", &json!({}));
    running.send(&[&poison(5, "t.x")[..], &[nobodys]].concat());
    running.finished(6);
    assert_eq!(running.kept(), 6);
    is_mended.store(true, Ordering::Release);
    assert_eq!(
        running.told(&["replay", "--sink", "picky", "--yes"])["count"],
        5
    );
    running.until_kept(1);
    let taken: Vec<Value> = receiver.requests()[5..]
        .iter()
        .map(|request| event(&request.body))
        .collect();
    assert_eq!(ids(&taken), [0, 1, 2, 3, 4]);
    assert!(taken.iter().all(|event| event["replayed"] == 1));
    assert_eq!(ids(&folder.events("out")), [0, 1, 2, 3, 4], "not again");
    // Nobody wants the other one still: it goes through the router, and is a new dead letter.
    assert_eq!(
        running.told(&["replay", "--class", "unroutable", "--yes"])["count"],
        1
    );
    let admin = running.admin;
    running.process.until("it failed again", || {
        let path = "/api/dead-letters";
        let page = event(&request(admin, "GET", path, &[], b"").body);
        page["kept"] == 1 && page["dead_letters"][0]["sequence"].as_u64() > Some(6)
    });
    let number = sequences(&running.list())[0];
    let story = running.told(&["show", &number.to_string()]);
    assert_eq!(
        (
            &story["branch"],
            &story["event"]["replayed"],
            &story["event"]["id"]
        ),
        (&json!("router"), &json!(1), &json!("7"))
    );
    running.process.stop().assert_drained();
}

#[test]
fn a_purge_forgets_what_its_filters_say_and_nothing_without_consent() {
    let folder = Folder::new();
    let whole = config(&folder, json!({ "h": counting() }), out(&folder));
    let mut running = Running::start(&whole);
    running.send(&[poison(30, "t.x"), poison(20, "t.y")].concat());
    running.finished(50);
    assert_refused(&running.ask(&["purge"]), 2, "or say `--all`");
    assert_refused(
        &running.ask(&["purge", "--type", "t.x"]),
        2,
        "nothing was done",
    );
    for all_of_some in [
        &["purge", "--all", "--id", "7"][..],
        &["purge", "--handler", "h", "--all", "--yes"],
        &["replay", "--all", "--to", "1h"],
    ] {
        let why = "`--all` means all dead letters, and a filter only some";
        assert_refused(&running.ask(all_of_some), 2, why);
    }
    for (filters, count) in [
        (&["--type", "t.*"][..], 50),
        (&["--type", "t.y", "--handler", "h"], 20),
        (&["--id", "7"], 2),
        (&["--from", "1h", "--class", "error"], 50),
        (&["--to", "1h"], 0),
        (&["--sink", "out"], 0),
    ] {
        let dry = running.told(&[&["purge", "--dry-run"], filters].concat());
        assert_eq!(dry["count"], count, "{filters:?}");
    }
    assert_eq!(running.kept(), 50);
    assert_eq!(
        running.told(&["purge", "--type", "t.x", "--yes"])["count"],
        30
    );
    assert_eq!(running.kept(), 20);
    let data = folder.path("data");
    let offline = |arguments: &[&str]| cli(&[arguments, &["--data-dir", &data]].concat());
    assert_refused(&offline(&["list"]), 1, "in use by another running veltrix");
    let page = running.list();
    running.kill();

    let found = event(&printed(&offline(&[
        "list", "--limit", "1000", "-o", "json",
    ])));
    assert_eq!(found, page);
    let first = page["dead_letters"][0]["sequence"].to_string();
    let shown = printed(&offline(&["show", &first]));
    assert!(shown.contains("of handler.h"), "{shown}");
    assert_refused(&offline(&["purge", "--id", "3"]), 2, "nothing was done");
    assert_eq!(
        printed(&offline(&["purge", "--id", "3", "--yes"])),
        "1 dead letters purged\n"
    );
    assert_eq!(Running::start(&whole).kept(), 19);
    let audit = folder.events("data/audit.ndjson");
    let told: Vec<(&Value, &Value)> = audit
        .iter()
        .map(|line| (&line["filter"], &line["count"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!({ "type": "t.x" }), &json!(30)),
            (&json!({ "id": "3" }), &json!(1))
        ]
    );
}

fn is_no_room(record: &Value) -> bool {
    let message = record["message"].as_str().unwrap_or_default();
    message.starts_with("the store of dead letters has no room")
}

#[test]
fn a_full_store_holds_its_handler_up_and_says_so_and_drops_nothing() {
    let folder = Folder::new();
    let mut whole = config(
        &folder,
        json!({ "h": counting(), "fine": mended() }),
        out(&folder),
    );
    whole["dead_letters"] = json!({ "max_on_disk": "1MiB" });
    whole["handlers"]["h"]["on"] = json!("t.x");
    whole["handlers"]["fine"]["on"] = json!("u");
    let mut running = Running::start(&whole);
    let large = json!({ "filler": "x".repeat(10_000) });
    let flood: Vec<String> = (0..400).map(|id| line(id, "t.x", &large)).collect();
    running.send(&flood);
    running.until_full();
    let ready = request(running.admin, "GET", "/readyz", &[], b"");
    assert_eq!(ready.status, 200);
    assert!(
        ready.body.contains("the store of dead letters has no room"),
        "{}",
        ready.body
    );
    running.process.log(is_no_room);
    let mut purged = 0;
    while purged < 400 {
        let told = running.told(&["purge", "--all"])["count"].as_u64();
        purged += told.expect("a count");
        running.process.pause();
    }
    running.finished(400);
    assert_eq!((purged, running.kept()), (400, 0));
    let ended = running.process.stop();
    ended.assert_drained();
    assert_eq!(ended.dead_letters("handler.h", "error"), 400);
    assert_eq!(ended.summary()["dropped"], 0);
}

#[test]
fn a_full_disk_holds_up_who_gives_events_up_and_nobody_else_and_drops_nothing() {
    let Some(disk) = SmallDisk::mount("8m") else {
        println!("SKIPPED: no small disk can be mounted here, run it as root");
        return;
    };
    let folder = Folder::new();
    let handlers = json!({ "h": counting(), "fine": { "on": "u", "type": "pass", "to": "out" } });
    let mut whole = config(&folder, handlers, out(&folder));
    whole["service"]["data_dir"] = json!(disk.path("data"));
    whole["journal"] = json!({ "segment": "1MiB" });
    whole["dead_letters"] = json!({ "max_on_disk": "1MiB" });
    let mut running = Running::start(&whole);
    // The journal has its segment from now on, the store has none.
    running.send(&[line(0, "u", &json!({}))]);
    running.finished(1);
    disk.fill();
    running.send(&poison(30, "t.x"));
    running.until_full();
    let told = running.process.log(is_no_room);
    let reason = told["reason"].as_str().expect("a reason");
    assert!(reason.contains("No space left"), "{reason}");
    let ready = request(running.admin, "GET", "/readyz", &[], b"").body;
    assert!(
        ready.contains("the store of dead letters has no room"),
        "{ready}"
    );
    running.send(&[line(1, "u", &json!({}))]);
    let admin = running.admin;
    running.process.until("others go on", || {
        let metrics = Metrics::of(admin);
        metrics.get("veltrix_source_in_flight{source=\"in\"}") == 30.0
            && metrics.get("veltrix_journal_finished") == 2.0
    });
    assert_eq!((running.kept(), folder.lines("out").len()), (0, 2));
    disk.free();
    running.until_kept(30);
    let page = running.list();
    let mut kept = ids(page["dead_letters"].as_array().expect("a list"));
    kept.sort_unstable();
    assert_eq!(kept, Vec::from_iter(0..30));
    running
        .process
        .log(|record| record["message"] == "the store of dead letters has room again");
    let ended = running.process.stop();
    ended.assert_drained();
    assert_eq!(ended.dead_letters("handler.h", "error"), 30);
    assert_eq!(
        (&ended.summary()["dropped"], folder.lines("out").len()),
        (&json!(0), 2)
    );
}

#[test]
fn a_slow_replay_is_one_at_a_time_and_leaves_the_rest_to_the_next_process() {
    let folder = Folder::new();
    let mut running = Running::start(&config(&folder, json!({ "h": counting() }), out(&folder)));
    running.send(&poison(40, "t.x"));
    running.finished(40);
    running.process.stop().assert_drained();
    let whole = config(&folder, json!({ "h": mended() }), out(&folder));
    let mut running = Running::start(&whole);
    assert_eq!(
        running.told(&["replay", "--all", "--rate", "1/s"])["count"],
        40
    );
    let refused = running.ask(&["replay", "--all"]);
    assert_refused(&refused, 1, "a replay is under way");
    running
        .process
        .until("the first is delivered", || !folder.lines("out").is_empty());
    let ended = running.process.stop();
    ended.assert_drained();
    let delivered = folder.lines("out").len() as u64;
    assert!((1..40).contains(&delivered), "{delivered}");
    assert_eq!(Running::start(&whole).kept(), 40 - delivered);
}

#[test]
fn nobody_acts_on_dead_letters_by_a_form_or_with_a_wrong_order() {
    let folder = Folder::new();
    let running = Running::start(&config(&folder, json!({ "h": counting() }), out(&folder)));
    let json_type = [("content-type", "application/json")];
    let form = [("content-type", "text/plain")];
    for (headers, body, status, why) in [
        (
            &form,
            r#"{"all":true}"#,
            415,
            "send `content-type: application/json`",
        ),
        (
            &json_type,
            "{}",
            400,
            "give a `filter`, or say `\"all\": true`",
        ),
        (
            &json_type,
            r#"{"filter":{"colour":"red"}}"#,
            400,
            "there is no filter `colour`",
        ),
        (
            &json_type,
            r#"{"filter":{"class":"bad"}}"#,
            400,
            "`class` must be one of panic",
        ),
        (&json_type, r#"{"al":true}"#, 400, "unknown field `al`"),
        (&json_type, r#"{"all":true,"rate":0}"#, 400, "`rate`"),
        (
            &json_type,
            r#"{"filter":{"from":"soon"}}"#,
            400,
            "`from` must be a time",
        ),
    ] {
        for action in ["purge", "replay"] {
            let path = format!("/api/dead-letters/{action}");
            let answer = request(running.admin, "POST", &path, headers, body.as_bytes());
            assert_eq!(answer.status, status, "{body}: {}", answer.body);
            let detail = event(&answer.body)["detail"].clone();
            assert!(
                detail.as_str().is_some_and(|detail| detail.contains(why)),
                "{detail}"
            );
        }
    }
    assert!(folder.lines("data/audit.ndjson").is_empty());
    running.process.stop().assert_drained();
}
