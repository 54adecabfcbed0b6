//! What a new config has to stand before it is confirmed, where few events come.

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

use metrics::Metrics;
use reloading::*;
use serde_json::json;

#[test]
fn a_handler_all_of_whose_few_events_fail_is_rolled_back_at_the_end_of_its_probation() {
    let mut config = base();
    // Long enough for the events to be given up in it on a busy machine.
    config["reload"]["probation"] = json!("4s");
    let (mut process, admin, mut sender) = start(&config);
    sender.send("a", 3, 1);
    await_events(&mut process, "first.ndjson", 3);
    let mut bad = config.clone();
    bad["handlers"]["one"] =
        json!({ "on": "a", "type": "exec", "command": ["false"], "to": ["first"] });
    bad["handlers"]["one"]["supervision"] = json!({ "attempts": 1 });
    assert_eq!(apply(&process, admin, &bad)["result"], "applied");
    sender.send("a", 3, 1);
    process.until("the dead letters", || {
        let metrics = Metrics::of(admin);
        let dead = r#"veltrix_dead_letters_total{handler="one",class="error"}"#;
        metrics.has(dead) && metrics.get(dead) == 3.0
    });
    let back = process.log(|record| {
        let message = record["message"].as_str().unwrap_or_default();
        message.contains("probation") && message != "the config is reloaded"
    });
    assert_eq!(
        back["reason"],
        "handlers/one: 3 of its 3 events became dead letters, more than its `breaker.dead_letter_ratio` of 0.5",
        "{back}"
    );
    sender.send("a", 3, 1);
    let all = await_events(&mut process, "first.ndjson", 6);
    assert!(all.iter().all(|event| event["data"]["by"] == "one"));
    let history = get(admin, "/api/config/history");
    assert_eq!(history["history"][0]["result"], "rolled-back");
    process.stop().assert_drained();
}

#[test]
fn what_fails_before_a_reload_is_over_counts_in_its_probation() {
    let mut config = base();
    config["reload"]["probation"] = json!("1s");
    config["sources"]["web"] = json!({ "type": "http", "listen": "127.0.0.1:0" });
    let (mut process, admin, mut sender) = start(&config);
    // The changed source is waited for, while the changed handler is already there.
    let under_way = begin_request(process.address("web"), "{}");
    config["sources"]["web"]["max_connections"] = json!(100);
    config["handlers"]["one"] =
        json!({ "on": "a", "type": "exec", "command": ["false"], "to": ["first"] });
    config["handlers"]["one"]["supervision"] = json!({ "attempts": 1 });
    rewrite(&process, &config);
    let reloading = std::thread::spawn(move || reload(admin, ""));
    process.until("a dead letter", || {
        sender.send("a", 1, 1);
        let metrics = Metrics::of(admin);
        metrics.has(r#"veltrix_dead_letters_total{handler="one",class="error"}"#)
    });
    // The last ones are given up as well before it is over.
    process.until("nothing under way", || {
        let metrics = Metrics::of(admin);
        metrics.source("finished", "in") == metrics.source("accepted", "in")
    });
    drop(under_way);
    assert_eq!(reloading.join().expect("no panic").status, 200);
    process.log(|record| {
        let message = record["message"].as_str().unwrap_or_default();
        assert_ne!(message, "the new config has stood its probation");
        message.starts_with("the new config fails in its probation")
    });
    process.stop().assert_drained();
}
