//! Reloads at bad moments: calls that do not end, threads that hang, files that are gone, and one reload in the other.

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

use std::io::{Read, Write};

use metrics::Metrics;
use process::{Process, connect, exchange, read_answer};
use reloading::*;
use rustix::process::Signal;
use serde_json::{Value, json};
use stub_server::Receiver;

#[test]
fn a_delivery_that_outlasts_the_reload_of_its_sink_counts_once() {
    let (release, wait) = once_released();
    let receiver = Receiver::start(move |_, number| {
        if number == 0 {
            wait();
        }
        TAKEN.to_owned()
    });
    let mut config = base();
    config["sinks"]["first"] = json!({ "type": "http", "url": receiver.url() });
    let (mut process, admin, mut sender) = start(&config);
    sender.send("a", 3, 1);
    process.until("a delivery", || !receiver.requests().is_empty());
    config["sinks"]["first"]["headers"] = json!({ "x-version": "2" });
    apply(&process, admin, &config);
    let delivered = || Metrics::of(admin).get(r#"veltrix_sink_delivered_total{sink="first"}"#);
    process.until("the events", || delivered() >= 3.0);
    drop(release);
    sender.send("a", 100, 1);
    process.until("more events", || delivered() >= 103.0);
    process.stop().assert_drained();
}

/// Connections to that port that nobody has accepted yet.
fn unaccepted(port: u16) -> u64 {
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("a list");
    let listening = sockets.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state) = (words.next()?, words.next()?, words.next()?);
        let (_, waiting) = words.next()?.split_once(':')?;
        (local.ends_with(&format!(":{port:04X}")) && state == "0A").then_some(waiting)
    });
    u64::from_str_radix(listening.expect("it listens"), 16).expect("a number")
}

#[test]
fn who_connects_while_an_http_source_is_exchanged_waits_for_its_next_version() {
    let mut config = base();
    config["sources"]["web"] = json!({ "type": "http", "listen": "127.0.0.1:0" });
    let (mut process, admin, _sender) = start(&config);
    let web = process.address("web");
    let event = r#"{"specversion":"1.0","id":"1","source":"/w","type":"a","data":{"n":0}}"#;
    let mut under_way = begin_request(web, event);

    config["sources"]["web"]["max_connections"] = json!(100);
    rewrite(&process, &config);
    let reloading = std::thread::spawn(move || reload(admin, ""));
    let (done, is_done) = std::sync::mpsc::sync_channel::<()>(0);
    let whole = format!("{}\r\n{event}", request_head(event));
    let request = whole.clone();
    let others = std::thread::spawn(move || {
        let mut accepted = 0;
        while is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            // Nobody is refused. The old version's last connections may be closed, or told to come again.
            let mut stream = connect(web);
            let mut answer = String::new();
            let asked = stream.write_all(request.as_bytes());
            if asked
                .and_then(|()| stream.read_to_string(&mut answer))
                .is_ok()
            {
                accepted += u64::from(answer.starts_with("HTTP/1.1 202"));
            }
        }
        accepted
    });
    process.until("a connection that waits", || unaccepted(web.port()) > 0);
    under_way.write_all(event.as_bytes()).expect("sent");
    assert_eq!(read_answer(&mut under_way).status, 202);
    assert_eq!(reloading.join().expect("no panic").status, 200);
    assert_eq!(exchange(web, whole.as_bytes()).status, 202);
    drop(done);
    assert!(others.join().expect("no panic") > 0);
    process.stop().assert_drained();
}

#[test]
fn what_cannot_be_gone_back_to_is_not_tried_for_ever() {
    let mut config = base();
    config["sources"]["once"] = json!({ "type": "file", "path": "in.ndjson" });
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("in.ndjson"), "").expect("written");
    let input = std::process::Stdio::null();
    let mut process = Process::start_in(folder, &config.to_string(), input);
    let admin = process.admin();
    let mut sender = Sender::connect(process.address("in"));
    process.running();
    std::fs::remove_file(process.folder().join("in.ndjson")).expect("removed");
    config["sources"]["once"]["path"] = json!("./in.ndjson");
    rewrite(&process, &config);
    let answer = reload(admin, "");
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body.contains("no file matches"), "{}", answer.body);
    sender.send("a", 7, 2);
    assert_eq!(await_events(&mut process, "first.ndjson", 7).len(), 7);
    process.stop().assert_drained();
}

#[test]
fn files_are_taken_over_while_others_in_their_folder_never_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::start_watching(folder, &base().to_string());
    let mut sender = Sender::connect(process.address("in"));
    process.running();
    let (done, is_done) = std::sync::mpsc::sync_channel::<()>(0);
    let feeder = std::thread::spawn(move || {
        // One by one, so that the sink's file changes each time.
        while is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            sender.send("a", 1, 1);
        }
    });
    await_events(&mut process, "first.ndjson", 100);
    let mut config = base();
    config["handlers"]["one"]["set"]["data.by"] = json!("'two'");
    rewrite(&process, &config);
    process.log(|record| {
        record["message"] == "the config is reloaded" && record["trigger"] == "watch"
    });
    drop(done);
    feeder.join().expect("no panic");
    process.stop().assert_drained();
}

#[test]
fn the_tree_shows_the_lanes_of_the_new_version_and_what_waits_for_them() {
    let down = Receiver::start(|_, _| UNAVAILABLE.to_owned());
    let mut config = base();
    config["handlers"]["one"]["lanes"] = json!(4);
    let (mut process, admin, mut sender) = start(&config);
    assert!(actor(&get(admin, "/api/tree"), "handlers/one/3").is_some());
    config["handlers"]["one"] = stuck(&down.url(), "a", "first");
    config["handlers"]["one"]["lanes"] = json!(1);
    apply(&process, admin, &config);
    sender.send("a", 10, 1);
    let waiting = |lane: &str| {
        let lane = actor(&get(admin, "/api/tree"), lane)?;
        lane["backlog"]["events"].as_u64()
    };
    process.until("a backlog", || waiting("handlers/one/0") == Some(10));
    let tree = get(admin, "/api/tree");
    assert_eq!(actor(&tree, "handlers/one/3"), None);
    apply(&process, admin, &base());
    await_events(&mut process, "first.ndjson", 10);
    process.stop().assert_drained();
}

#[test]
fn a_reload_in_a_probation_goes_on_watching_what_the_first_one_changed() {
    let mut config = base();
    config["reload"]["probation"] = json!("1h");
    let (mut process, admin, mut sender) = start(&config);
    let good = get(admin, "/api/config")["version"].clone();
    config["handlers"]["one"]["set"]["data.by"] = json!("data.none.at.all");
    config["handlers"]["one"]["supervision"] = json!({ "attempts": 1 });
    apply(&process, admin, &config);
    config["handlers"]["two"] = json!({ "on": "b", "type": "pass", "to": ["first"] });
    apply(&process, admin, &config);
    // Changes nothing that runs.
    config["reload"]["probation"] = json!("2h");
    apply(&process, admin, &config);
    sender.send("a", 400, 4);
    process.log(|record| {
        record["message"]
            == "the new config fails in its probation, the one before is taken up again"
    });
    process.until("the config before", || {
        get(admin, "/api/config")["version"] == good
    });
    process.stop().assert_drained();
}

#[test]
fn a_handler_is_mended_whose_call_blocks_its_thread() {
    for deadline in ["1s", "1h"] {
        let mut config = base();
        config["service"]["workers"] = json!(1);
        config["faults"] = json!({ "inject": [{ "at": "handler.one", "hang": "1h", "times": 1 }] });
        config["handlers"]["one"]["supervision"] = json!({ "deadline": deadline });
        let mut process = Process::start_faulty(&config.to_string());
        let admin = process.admin();
        let mut sender = Sender::connect(process.address("in"));
        process.running();
        sender.send("a", 20, 3);
        if deadline == "1s" {
            process
                .log(|record| record["message"] == "a handler hangs, its lane goes on without it");
        } else {
            process.until("the fault", || {
                Metrics::of(admin)
                    .has(r#"veltrix_faults_injected_total{at="handler.one",action="hang"}"#)
            });
        }
        config.as_object_mut().expect("an object").remove("faults");
        config["handlers"]["one"]["lanes"] = json!(2);
        apply(&process, admin, &config);
        let all = await_events(&mut process, "first.ndjson", 20);
        assert_eq!(all.len(), 20);
        assert_eq!(process.stop().summary()["balanced"], true);
    }
}

#[test]
fn no_line_of_the_standard_input_is_lost_when_its_source_changes() {
    let mut config = base();
    config["sources"]["lines"] = json!({ "type": "stdin" });
    let mut process = Process::start_fed(&config.to_string());
    let admin = process.admin();
    process.running();
    let mut input = process.input();
    let mut write = |id: usize| {
        let line = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/i","type":"a","data":{{"n":{id}}}}}"#
        );
        writeln!(input, "{line}").expect("written");
    };
    write(0);
    await_events(&mut process, "first.ndjson", 1);
    config["sources"]["lines"]["max_event"] = json!("1MiB");
    apply(&process, admin, &config);
    for id in 1..10 {
        write(id);
        await_events(&mut process, "first.ndjson", id + 1);
    }
    process.stop().assert_drained();
}

#[test]
fn calls_that_do_not_end_are_waited_for_together() {
    let (release, wait) = once_released();
    let receiver = Receiver::start(move |_, _| {
        wait();
        UNAVAILABLE.to_owned()
    });
    let mut config = base();
    for number in 0..15 {
        config["handlers"][format!("h{number}")] = json!({ "on": "b", "type": "http", "url": receiver.url(), "timeout": "1h", "to": ["first"] });
    }
    let (mut process, admin, mut sender) = start(&config);
    sender.send("b", 1, 1);
    process.until("the calls", || receiver.requests().len() == 15);
    for number in 0..15 {
        config["handlers"][format!("h{number}")] =
            json!({ "on": "b", "type": "pass", "to": ["first"] });
    }
    apply(&process, admin, &config);
    assert_eq!(await_events(&mut process, "first.ndjson", 15).len(), 15);
    drop(release);
    process.stop().assert_drained();
}

#[test]
fn the_process_ends_once_the_last_source_that_went_on_is_gone() {
    let mut config = base();
    config["sources"] = json!({
        "few": { "type": "generate", "count": 3, "types": { "a": 1 } },
        "tail": { "type": "file", "path": "in.ndjson", "follow": true, "durability": "upstream" },
    });
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("in.ndjson"), "").expect("written");
    let input = std::process::Stdio::null();
    let mut process = Process::start_in(folder, &config.to_string(), input);
    let admin = process.admin();
    process.running();
    process.until("the end of the first source", || {
        let few = actor(&get(admin, "/api/tree"), "sources/few");
        few.is_some_and(|few| few["state"] == "stopped")
    });
    let sources = config["sources"].as_object_mut().expect("an object");
    sources.remove("tail");
    apply(&process, admin, &config);
    process.wait().assert_drained();
}

/// The ids in the order in which they were delivered, event by event.
fn delivered(receiver: &Receiver) -> Vec<u64> {
    let requests = receiver.requests();
    let bodies = requests
        .iter()
        .map(|request| serde_json::from_str::<Value>(&request.body).expect("JSON"));
    bodies
        .map(|event| event["data"]["n"].as_u64().expect("a number"))
        .collect()
}

#[test]
fn a_sink_that_changes_with_deliveries_under_way_repeats_none() {
    let receiver = Receiver::start(|_, _| TAKEN.to_owned());
    let mut config = base();
    config["sinks"]["first"] = json!({ "type": "http", "url": receiver.url() });
    let (mut process, admin, mut sender) = start(&config);
    for version in 0..10 {
        sender.send("a", 50, 5);
        config["sinks"]["first"]["headers"] = json!({ "x-version": version.to_string() });
        apply(&process, admin, &config);
    }
    process.until("all events", || delivered(&receiver).len() >= 500);
    process.stop().assert_drained();
    let mut all = delivered(&receiver);
    let mut last = [None; 5];
    for number in &all {
        let before = last[(number % 5) as usize].replace(*number);
        assert!(before < Some(*number), "{before:?} then {number}");
    }
    all.sort_unstable();
    assert_eq!(all, (0..500).collect::<Vec<u64>>());
}

fn threads(process: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
    tasks.expect("a running process").count()
}

#[test]
fn isolated_handlers_change_in_order_and_leave_no_thread_behind() {
    let mut config = base();
    config["handlers"]["one"]["isolation"] = json!("thread");
    config["handlers"]["one"]["lanes"] = json!(2);
    let (mut process, admin, mut sender) = start(&config);
    let (id, mut threads_once) = (process.id(), None);
    for version in 0..10 {
        sender.send("a", 200, 5);
        config["handlers"]["one"]["set"]["data.by"] = json!(format!("'{version}'"));
        apply(&process, admin, &config);
        threads_once.get_or_insert_with(|| threads(id));
    }
    let all = await_events(&mut process, "first.ndjson", 2000);
    assert_eq!(all.len(), 2000);
    assert_in_order(&all);
    process.until("the end of the threads", || {
        Some(threads(id)) <= threads_once
    });
    process.stop().assert_drained();
}

#[test]
fn an_upstream_source_goes_on_where_the_version_before_it_ended() {
    let mut config = base();
    config["sources"]["tail"] =
        json!({ "type": "file", "path": "in.ndjson", "follow": true, "durability": "upstream" });
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("in.ndjson");
    std::fs::write(&input, "").expect("written");
    let mut process = Process::start_in(folder, &config.to_string(), std::process::Stdio::null());
    let admin = process.admin();
    process.running();
    let mut file = std::fs::File::options()
        .append(true)
        .open(&input)
        .expect("a file");
    let mut written = 0;
    let mut write = |count: usize| {
        for number in written..written + count {
            writeln!(
                file,
                r#"{{"specversion":"1.0","id":"{number}","source":"/i","type":"a","subject":"k","data":{{"n":{number}}}}}"#
            )
            .expect("written");
        }
        written += count;
    };
    for version in 1..=5 {
        write(500);
        config["sources"]["tail"]["max_event"] = json!(format!("{version}MiB"));
        apply(&process, admin, &config);
        write(500);
        let tail = config["sources"]
            .as_object_mut()
            .expect("an object")
            .remove("tail");
        apply(&process, admin, &config);
        write(500);
        config["sources"]["tail"] = tail.expect("a source");
        apply(&process, admin, &config);
    }
    let all = await_events(&mut process, "first.ndjson", 7500);
    assert_eq!(numbers(&all), (0..7500).collect::<Vec<u64>>());
    process.stop().assert_drained();
}

#[test]
fn what_waits_on_disk_for_a_sink_is_its_next_versions() {
    let down = Receiver::start(|_, _| UNAVAILABLE.to_owned());
    let up = Receiver::start(|_, _| TAKEN.to_owned());
    let mut config = base();
    config["sources"]["in"]["durability"] = json!("journal");
    config["sinks"]["first"] = json!({ "type": "http", "url": down.url() });
    let (mut process, admin, mut sender) = start(&config);
    for _ in 0..20 {
        sender.send("a", 1000, 5);
    }
    // What is not routed yet goes where the next version routes it.
    process.until("all wait for the sink, some of them on disk", || {
        let metrics = Metrics::of(admin);
        metrics.get(r#"veltrix_sink_waiting{sink="first"}"#) == 20000.0
            && metrics.get(r#"veltrix_sink_overflow{sink="first"}"#) >= 1.0
    });
    let mut without = config.clone();
    without["sinks"] = json!({ "second": { "type": "blackhole" } });
    without["handlers"]["one"]["to"] = json!(["second"]);
    apply(&process, admin, &without);
    config["sinks"]["first"]["url"] = json!(up.url());
    apply(&process, admin, &config);
    process.until("all events", || delivered(&up).len() >= 20000);
    process.stop().assert_drained();
    let mut all = delivered(&up);
    all.sort_unstable();
    assert_eq!(all, (0..20000).collect::<Vec<u64>>());
}

/// Has the process told to end while a reload waits for a call, which is then answered with `answer`; so many events come out.
fn end_in_a_reload(answer: &'static str, delivered: usize) {
    let (release, wait) = once_released();
    let receiver = Receiver::start(move |_, _| {
        wait();
        answer.to_owned()
    });
    let mut config = base();
    config["handlers"]["asks"] =
        json!({ "on": "b", "type": "http", "url": receiver.url(), "to": ["first"] });
    let (mut process, admin, mut sender) = start(&config);
    sender.send("b", 1, 1);
    process.until("a call", || !receiver.requests().is_empty());
    sender.send("a", 10, 1);
    config["handlers"]["asks"] = json!({ "on": "b", "type": "pass", "to": ["first"] });
    config["sinks"]["second"] = json!({ "type": "file", "path": "second.ndjson" });
    rewrite(&process, &config);
    // The new sink is there once the reload has begun; then it waits for the call.
    process.signal(Signal::HUP);
    process.until("the reload", || {
        actor(&get(admin, "/api/tree"), "sinks/second").is_some()
    });
    process.signal(Signal::TERM);
    process.log(|record| record["message"] == "draining");
    drop(release);
    let ended = process.wait();
    ended.assert_drained();
    let again = "what ran before the reload cannot be started again";
    assert!(ended.records(again).is_empty(), "{:#?}", ended.logs);
    let sinks = ended.records("sink summary");
    let first = sinks.iter().find(|record| record["sink"] == "first");
    assert_eq!(first.expect("a summary")["delivered"], delivered);
}

#[test]
fn a_process_that_is_told_to_end_in_a_reload_drains() {
    end_in_a_reload(UNAVAILABLE, 11);
    // Handled by the version before, with no result: the drain may be over before the reload is.
    end_in_a_reload(TAKEN, 10);
}

#[test]
fn hangups_at_the_start_and_reloads_at_once_end_with_the_last_config() {
    let mut config = base();
    let mut process = Process::start(&config.to_string());
    let admin = process.admin();
    // Whether the tree is up or not.
    process.signal(Signal::HUP);
    let mut sender = Sender::connect(process.address("in"));
    process.running();
    for version in 0..5 {
        config["handlers"]["one"]["set"]["data.by"] = json!(format!("'{version}'"));
        rewrite(&process, &config);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(reload(admin, "").status, 200));
            }
            process.signal(Signal::HUP);
            sender.send("a", 100, 3);
        });
    }
    sender.send("a", 1, 3);
    let all = await_events(&mut process, "first.ndjson", 501);
    assert_in_order(&all);
    assert_eq!(all.len(), 501);
    assert_eq!(all[500]["data"]["by"], "4");
    process.stop().assert_drained();
}

#[test]
fn a_reload_that_fails_in_any_step_leaves_all_as_it_was() {
    let mut config = base();
    config["handlers"]["two"] = json!({ "on": "b", "type": "pass", "to": ["second"] });
    config["sinks"]["second"] = json!({ "type": "file", "path": "second.ndjson" });
    let (mut process, admin, mut sender) = start(&config);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    std::fs::write(process.folder().join("no-folder"), "").expect("written");
    let sink = json!({ "type": "file", "path": "no-folder/x.ndjson" });
    let source = json!({ "type": "tcp", "listen": taken.local_addr().expect("bound").to_string() });
    let version = get(admin, "/api/config")["version"].clone();
    let mut sent = 0;
    for (role, name, broken) in [
        ("sinks", "third", &sink),
        ("sinks", "second", &sink),
        ("sources", "third", &source),
    ] {
        let mut next = config.clone();
        // All roles have something to be undone.
        next["sinks"]["first"]["path"] = json!("./first.ndjson");
        next["sinks"]["fourth"] = json!({ "type": "blackhole" });
        next["handlers"]["one"]["set"]["data.by"] = json!("'never'");
        next["handlers"]["fourth"] = json!({ "on": "a", "type": "pass", "to": ["fourth"] });
        next["sources"]["fourth"] = json!({ "type": "tcp", "listen": "127.0.0.1:0" });
        next[role][name] = broken.clone();
        rewrite(&process, &next);
        sender.send("a", 50, 3);
        let answer = reload(admin, "");
        assert!(
            matches!(answer.status, 409 | 422),
            "{role}.{name}: {}",
            answer.body
        );
        assert!(answer.body.contains(name), "{}", answer.body);
        sender.send("a", 50, 3);
        sender.send("b", 10, 3);
        sent += 100;
        let first = await_events(&mut process, "first.ndjson", sent);
        assert_eq!(first.len(), sent, "{role}.{name}");
        assert_in_order(&first);
        assert!(first.iter().all(|event| event["data"]["by"] == "one"));
        await_events(&mut process, "second.ndjson", sent / 10);
        assert_eq!(get(admin, "/api/config")["version"], version);
        process.until("the end of what was begun", || {
            let tree = get(admin, "/api/tree");
            ["sinks/fourth", "handlers/fourth", "sources/fourth"]
                .iter()
                .all(|path| actor(&tree, path).is_none())
        });
    }
    process.stop().assert_drained();
}
