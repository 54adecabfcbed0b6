//! A running process takes over a changed config: what is new starts, what is gone drains, and no event is lost or overtaken.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "support/reloading.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod reloading;
#[path = "support/stub_server.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod stub_server;

use std::net::TcpStream;

use metrics::Metrics;
use process::{Process, request};
use reloading::*;
use rustix::process::Signal;
use serde_json::{Value, json};
use stub_server::Receiver;

#[test]
fn handlers_and_sinks_come_change_and_go_while_a_connection_stays() {
    let (mut process, admin, mut sender) = start(&base());
    sender.send("a", 10, 3);
    let mut config = base();
    config["handlers"]["one"]["set"]["data.by"] = json!("'one again'");
    config["handlers"]["two"] = json!({ "on": ["a", "b"], "type": "pass", "to": ["second"] });
    config["sinks"]["second"] = json!({ "type": "file", "path": "second.ndjson" });
    let answer = apply(&process, admin, &config);
    assert_eq!(answer["result"], "applied");
    assert_eq!(
        answer["changes"]["handlers"],
        json!({ "added": ["two"], "changed": ["one"], "removed": [] })
    );
    assert_eq!(answer["changes"]["sources"]["changed"], json!([]));
    sender.send("a", 10, 3);
    sender.send("b", 5, 3);
    let mut config = base();
    config["handlers"] = json!({ "three": { "on": ">", "type": "pass", "to": ["first"] } });
    let answer = apply(&process, admin, &config);
    assert_eq!(answer["changes"]["sinks"]["removed"], json!(["second"]));
    sender.send("c", 5, 3);
    let first = await_events(&mut process, "first.ndjson", 25);
    assert_eq!(numbers(&first), (0..20).chain(25..30).collect::<Vec<_>>());
    let by = |events: &[Value]| {
        events
            .iter()
            .map(|event| event["data"]["by"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(by(&first[..10]), vec![json!("one"); 10]);
    assert_eq!(by(&first[10..20]), vec![json!("one again"); 10]);
    assert_eq!(by(&first[20..]), vec![Value::Null; 5]);
    let second = await_events(&mut process, "second.ndjson", 15);
    assert_eq!(numbers(&second), (10..25).collect::<Vec<_>>());
    process.log(|record| record["message"] == "the sink is gone" && record["sink"] == "second");
    process.log(|record| record["message"] == "the handler is gone" && record["handler"] == "two");
    let tree = get(admin, "/api/tree").to_string();
    assert!(
        !tree.contains("handlers/two") && !tree.contains("sinks/second"),
        "{tree}"
    );
    process.stop().assert_drained();
}

#[test]
fn lanes_and_expressions_change_under_load_and_every_key_stays_in_order() {
    let with = |round: usize| {
        let mut config = base();
        config["handlers"]["one"]["lanes"] = json!(round % 4 + 1);
        config["handlers"]["one"]["set"]["data.by"] = json!(format!("'round {round}'"));
        if round.is_multiple_of(3) {
            config["sinks"]["first"]["sync"] = json!("never");
        }
        config
    };
    let (mut process, admin, mut sender) = start(&with(0));
    let feeder = std::thread::spawn(move || {
        for _ in 0..200 {
            sender.send("a", 100, 17);
        }
        sender.sent
    });
    let mut round = 0;
    while !feeder.is_finished() || round < 12 {
        round += 1;
        apply(&process, admin, &with(round));
    }
    let sent = feeder.join().expect("sent");
    let all = await_events(&mut process, "first.ndjson", sent);
    assert_eq!(all.len(), sent);
    assert_in_order(&all);
    let metrics = Metrics::of(admin);
    assert_eq!(
        metrics.get(r#"veltrix_reloads_total{result="applied"}"#),
        round as f64
    );
    process.stop().assert_drained();
}

#[test]
fn what_is_wrong_is_refused_with_its_reasons_and_everything_goes_on() {
    let (mut process, admin, mut sender) = start(&base());
    sender.send("a", 5, 1);
    let version = get(admin, "/api/config")["version"].clone();
    let mut broken = base();
    broken["handlers"]["one"]["set"]["data.by"] = json!("'one");
    broken["handlers"]["one"]["to"] = json!(["nowhere"]);
    rewrite(&process, &broken);
    let answer = reload(admin, "");
    assert_eq!(answer.status, 422, "{}", answer.body);
    let problems: Value = serde_json::from_str(&answer.body).expect("JSON");
    let problems = problems["problems"].to_string();
    assert!(problems.contains("unknown sink `nowhere`"), "{problems}");
    assert!(problems.contains("handlers.one.set"), "{problems}");

    let mut fixed = base();
    fixed["service"]["memory"] = json!("64MiB");
    fixed["journal"] = json!({ "segment": "2MiB" });
    rewrite(&process, &fixed);
    let answer = reload(admin, "");
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(
        answer.body.contains("journal.segment, service.memory"),
        "{}",
        answer.body
    );

    let mut faulty = base();
    faulty["faults"] = json!({ "inject": [{ "at": "handler.one", "panic": 1.0 }] });
    rewrite(&process, &faulty);
    let answer = reload(admin, "");
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body.contains("--allow-faults"), "{}", answer.body);

    rewrite(&process, &base());
    let answer = reload(admin, "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(
        answer.body.contains(r#""result":"unchanged""#),
        "{}",
        answer.body
    );
    assert_eq!(
        request(admin, "POST", "/api/reload", &[JSON], b"{\"dry\":1}").status,
        400
    );
    assert_eq!(request(admin, "POST", "/api/reload", &[], b"").status, 415);

    sender.send("a", 5, 1);
    assert_eq!(get(admin, "/api/config")["version"], version);
    let metrics = Metrics::of(admin);
    assert_eq!(
        metrics.get(r#"veltrix_reloads_total{result="refused"}"#),
        3.0
    );
    assert_eq!(
        metrics.get(r#"veltrix_reloads_total{result="applied"}"#),
        0.0
    );
    assert_eq!(await_events(&mut process, "first.ndjson", 10).len(), 10);
    process.stop().assert_drained();
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let (process, admin, _sender) = start(&base());
    let mut config = base();
    config["sinks"]["second"] = json!({ "type": "file", "path": "made/second.ndjson" });
    config["handlers"]["two"] = json!({ "on": "b", "type": "pass", "to": ["second"] });
    rewrite(&process, &config);
    let before = get(admin, "/api/config");
    let answer = reload(admin, r#"{"dry_run":true}"#);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(answer["result"], "possible");
    assert_eq!(answer["changes"]["handlers"]["added"], json!(["two"]));
    assert_eq!(answer["changes"]["sinks"]["added"], json!(["second"]));
    assert_ne!(answer["version"], before["version"]);
    assert_eq!(get(admin, "/api/config"), before);
    assert!(!process.folder().join("made").exists());
    let history = get(admin, "/api/config/history");
    assert_eq!(history["history"].as_array().expect("a list").len(), 1);
    process.stop().assert_drained();
}

#[test]
fn a_hangup_reloads_and_the_history_tells_of_it() {
    let (mut process, admin, mut sender) = start(&base());
    let mut config = base();
    config["handlers"]["one"]["set"]["data.by"] = json!("'two'");
    rewrite(&process, &config);
    process.signal(Signal::HUP);
    process.log(|record| {
        record["message"] == "the config is reloaded" && record["trigger"] == "SIGHUP"
    });
    sender.send("a", 3, 1);
    let all = await_events(&mut process, "first.ndjson", 3);
    assert!(all.iter().all(|event| event["data"]["by"] == "two"));
    std::fs::write(process.folder().join("veltrix.yaml"), "sources: [").expect("written");
    process.signal(Signal::HUP);
    process.log(|record| {
        let message = record["message"].as_str().unwrap_or_default();
        message.contains("the config is not reloaded") && message.contains("veltrix.yaml:2:1")
    });
    let history = get(admin, "/api/config/history");
    let results = history["history"].as_array().expect("a list").iter();
    let results: Vec<_> = results
        .map(|entry| (&entry["trigger"], &entry["result"]))
        .collect();
    assert_eq!(
        json!(results),
        json!([
            ["SIGHUP", "refused"],
            ["SIGHUP", "applied"],
            ["start", "applied"]
        ])
    );
    let applied = get(admin, "/api/config");
    assert_eq!(applied["version"], history["history"][1]["version"]);
    assert_eq!(
        applied["config"]["handlers"]["one"]["set"]["data.by"],
        "'two'"
    );
    process.stop().assert_drained();
}

#[test]
fn files_that_are_swapped_are_taken_over_where_they_are_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::start_watching(folder, &base().to_string());
    let admin = process.admin();
    process.running();
    let mut config = base();
    config["handlers"]["one"]["set"]["data.by"] = json!("'swapped'");
    // As editors and `mv` do: another file in the place of the first.
    let other = process.folder().join("other");
    std::fs::write(&other, config.to_string()).expect("written");
    std::fs::rename(&other, process.folder().join("veltrix.yaml")).expect("renamed");
    process.log(|record| {
        record["message"] == "the config is reloaded" && record["trigger"] == "watch"
    });
    let applied = get(admin, "/api/config");
    assert_eq!(
        applied["config"]["handlers"]["one"]["set"]["data.by"],
        "'swapped'"
    );
    process.stop().assert_drained();
}

#[test]
fn a_new_handler_that_fails_is_rolled_back_and_the_old_stream_goes_on() {
    let good = |probation: &str| {
        let mut config = base();
        config["reload"]["probation"] = json!(probation);
        config
    };
    let (mut process, admin, mut sender) = start(&good("1h"));
    sender.send("a", 10, 4);
    let mut bad = good("1h");
    // Of every event: there is no `none` in it.
    bad["handlers"]["one"]["set"]["data.by"] = json!("data.none.at.all");
    bad["handlers"]["one"]["supervision"] = json!({ "attempts": 1 });
    let answer = apply(&process, admin, &bad);
    assert_eq!(answer["result"], "applied");
    assert!(get(admin, "/api/config")["probation_until"].is_string());
    sender.send("a", 400, 4);
    process.log(|record| {
        record["message"]
            == "the new config fails in its probation, the one before is taken up again"
    });
    sender.send("a", 10, 4);
    let dead = |admin| {
        let dead = Metrics::of(admin);
        dead.get(r#"veltrix_dead_letters_total{handler="one",class="error"}"#) as usize
    };
    let folder = process.folder().to_owned();
    process.until("all events", || {
        events(&folder, "first.ndjson").len() + dead(admin) == 420
    });
    let all = events(&folder, "first.ndjson");
    assert_in_order(&all);
    assert!(dead(admin) < 400, "{}", dead(admin));
    assert!(all.iter().all(|event| event["data"]["by"] == "one"));
    let history = get(admin, "/api/config/history");
    assert_eq!(history["history"][0]["result"], "rolled-back");
    assert!(get(admin, "/api/config")["probation_until"].is_null());
    let readiness = request(admin, "GET", "/readyz", &[], b"").body;
    assert_eq!(readiness, "ready\n");
    process.stop().assert_drained();
}

#[test]
fn a_mended_handler_takes_over_what_its_paused_predecessor_has_left() {
    let mut config = base();
    let down = Receiver::start(|_, _| UNAVAILABLE.to_owned());
    config["handlers"]["one"] = stuck(&down.url(), "a", "first");
    let (mut process, admin, mut sender) = start(&config);
    sender.send("a", 50, 3);
    process.until("a failure", || {
        Metrics::of(admin).get(r#"veltrix_handler_errors_total{handler="one"}"#) >= 2.0
    });
    apply(&process, admin, &base());
    let all = await_events(&mut process, "first.ndjson", 50);
    assert_eq!(all.len(), 50);
    assert_in_order(&all);
    process.stop().assert_drained();
}

#[test]
fn a_port_that_is_taken_brings_everything_back_to_where_it_was() {
    let (mut process, admin, mut sender) = start(&base());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut config = base();
    let address = taken.local_addr().expect("an address").to_string();
    config["sources"]["other"] = json!({ "type": "tcp", "listen": address });
    config["handlers"]["two"] = json!({ "on": "a", "type": "pass", "to": ["first"] });
    rewrite(&process, &config);
    let answer = reload(admin, "");
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body.contains("sources.other"), "{}", answer.body);
    sender.send("a", 7, 2);
    assert_eq!(await_events(&mut process, "first.ndjson", 7).len(), 7);
    let tree = get(admin, "/api/tree").to_string();
    assert!(
        !tree.contains("handlers/two") && !tree.contains("sources/other"),
        "{tree}"
    );
    process.stop().assert_drained();
}

#[test]
fn sources_come_change_and_go() {
    let mut config = base();
    config["sources"]["web"] = json!({ "type": "http", "listen": "127.0.0.1:0", "path": "/old" });
    let (mut process, admin, mut sender) = start(&config);
    let post = |address, path: &str, id: &str| {
        let line = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/w","type":"a","data":{{"n":0}}}}"#
        );
        let kind = [("content-type", "application/cloudevents+json")];
        request(address, "POST", path, &kind, line.as_bytes()).status
    };
    let old = process.address("web");
    assert_eq!(post(old, "/old", "1"), 202);
    config["sources"]["web"] = json!({ "type": "http", "listen": old.to_string(), "path": "/new" });
    config["sources"]["late"] = json!({ "type": "generate", "count": 5, "types": { "a": 1 } });
    let answer = apply(&process, admin, &config);
    assert_eq!(
        answer["changes"]["sources"],
        json!({ "added": ["late"], "changed": ["web"], "removed": [] })
    );
    assert_eq!(post(old, "/old", "2"), 404);
    assert_eq!(post(old, "/new", "3"), 202);
    sender.send("a", 2, 1);
    await_events(&mut process, "first.ndjson", 9);
    apply(&process, admin, &base());
    process.log(|record| record["message"] == "the source is gone" && record["source"] == "web");
    assert!(TcpStream::connect(old).is_err());
    sender.send("a", 2, 1);
    assert_eq!(await_events(&mut process, "first.ndjson", 11).len(), 11);
    process.stop().assert_drained();
}

#[test]
fn what_leaves_and_comes_again_gets_what_it_had_left() {
    let mut config = base();
    let down = Receiver::start(|_, _| UNAVAILABLE.to_owned());
    config["handlers"]["slow"] = stuck(&down.url(), "b", "second");
    config["sinks"]["second"] = json!({ "type": "file", "path": "second.ndjson" });
    let (mut process, admin, mut sender) = start(&config);
    sender.send("b", 20, 2);
    process.until("a failure", || {
        Metrics::of(admin).get(r#"veltrix_handler_errors_total{handler="slow"}"#) >= 2.0
    });
    apply(&process, admin, &base());
    sender.send("a", 1, 1);
    await_events(&mut process, "first.ndjson", 1);
    config["handlers"]["slow"] = json!({ "on": "b", "type": "pass", "to": ["second"], "lanes": 2 });
    let answer = apply(&process, admin, &config);
    assert_eq!(answer["changes"]["handlers"]["added"], json!(["slow"]));
    let second = await_events(&mut process, "second.ndjson", 20);
    assert_eq!(second.len(), 20);
    assert_in_order(&second);
    process.stop().assert_drained();
}

#[test]
fn a_sink_that_comes_again_before_it_is_gone_takes_what_is_sent_to_it() {
    let mut with = base();
    with["sinks"]["second"] = json!({ "type": "blackhole" });
    with["handlers"]["two"] = json!({ "on": "a", "type": "pass", "to": ["second"] });
    let (mut process, admin, mut sender) = start(&base());
    for _ in 0..20 {
        apply(&process, admin, &with);
        sender.send("a", 10, 3);
        apply(&process, admin, &base());
        sender.send("a", 1, 1);
    }
    assert_eq!(await_events(&mut process, "first.ndjson", 220).len(), 220);
    let ended = process.stop();
    ended.assert_drained();
    assert_eq!(ended.dead_letters("sink.second", "unroutable"), 0);
    assert_eq!(ended.dead_letters("handler.two", "unroutable"), 0);
}
