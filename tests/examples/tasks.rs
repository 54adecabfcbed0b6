//! One case for each example of a real task.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};

use crate::peer::{Component, Request, answer, event, post, request};
use crate::process::{Example, each, events_in, root};

fn accepted(_: &Request, _: usize) -> String {
    answer("202 Accepted", "text/plain", "")
}

pub(crate) fn webhook_fan_out(example: Example) {
    let billing = Component::start(|request, number| match number {
        0 => answer("503 Service Unavailable", "text/plain", "not yet"),
        _ => accepted(request, number),
    });
    let shipping = Component::start(accepted);
    let mut running = example
        .with_any_port("hooks")
        .with("VELTRIX__SINKS__BILLING__URL", &billing.url("/hooks"))
        .with("VELTRIX__SINKS__SHIPPING__URL", &shipping.url("/hooks"))
        .start();
    let address = running.address("hooks");
    let origin = [("webhook-request-origin", "eventemitter.example.com")];
    let permitted = request(address, "OPTIONS", &origin, "");
    assert!(permitted.starts_with("HTTP/1.1 200 "), "{permitted}");
    post(address, &event("1", "order.paid", "c", r#"{"amount":5}"#));
    post(address, &event("2", "order.address.changed", "c", "{}"));
    let (refused, delivered) = (billing.next(), billing.next());
    assert_eq!(refused.body, delivered.body);
    assert_eq!(delivered.json()["data"]["amount"], 5);
    let shipped = [shipping.next(), shipping.next()];
    assert_eq!(
        shipped.each_ref().map(|request| request.header("ce-id")),
        ["1", "2"]
    );
    let ended = running.stop();
    assert!(billing.rest().is_empty() && shipping.rest().is_empty());
    let days = std::fs::read_dir(ended.folder().join("out")).expect("a folder");
    let day = days.map(|day| day.expect("an entry").path()).next();
    let day = day.expect("a folder of the day");
    assert_eq!(events_in(&day.join("order.paid.ndjson")).len(), 1);
    assert_eq!(
        events_in(&day.join("order.address.changed.ndjson")).len(),
        1
    );
}

pub(crate) fn break_it(example: Example) {
    let ended = example.with_argument("--allow-faults").start().end();
    let priced = ended.file("out/ledger.ndjson");
    let ids: BTreeSet<&str> = each(&priced, "id").into_iter().collect();
    assert_eq!((priced.len(), ids.len()), (19_999, 19_999));
    assert!(!ids.contains("demo-777.price-order.0"));
    let faults = ended.file("out/faults.ndjson");
    let of = |injection: usize| {
        let is_it = |fault: &&Value| fault["injection"] == injection;
        faults.iter().filter(is_it).count()
    };
    assert!((0..5).all(|injection| of(injection) > 0), "{faults:#?}");
    assert_eq!(ended.summary["dead_lettered"], 1);
}

pub(crate) fn log_lines(example: Example) {
    let mut running = example
        .with_file(
            "logs/cart.log",
            "{\"n\":1,\"level\":\"info\",\"service\":\"cart\",\"ms\":12,\"msg\":\"ok\"}\n",
        )
        .start();
    running.record(|record| record["message"] == "running");
    let path = running.folder().join("logs/cart.log");
    let log = OpenOptions::new().append(true).open(path);
    let line = r#"{"n":2,"level":"error","service":"cart","ms":1250,"msg":"timeout"}"#;
    writeln!(log.expect("the log"), "{line}").expect("written");
    let alert = running.event();
    assert_eq!(alert["type"], "alert.raised");
    assert_eq!(alert["source"], "/veltrix/logs/errors");
    assert_eq!(alert["data"]["text"], "cart: timeout");
    let ended = running.stop();
    let [info] = &ended.file("out/log.info.ndjson")[..] else {
        panic!("one line of information was logged");
    };
    assert_eq!(info["id"], "1");
    assert_eq!(info["source"], "/logs/cart");
    assert_eq!(info["data"]["slow"], false);
    let error = &ended.file("out/log.error.ndjson")[0];
    assert_eq!(error["data"]["slow"], true);
    assert_eq!(error["data"]["site"], "berlin-1");
}

pub(crate) fn call_a_component(example: Example) {
    let pricing = Component::start(|request, number| {
        let event: Value = request.json();
        match number {
            0 => answer("500 Internal Server Error", "text/plain", "try again"),
            _ => {
                let total = json!({"total": event["data"]["price"]});
                answer("200 OK", "application/json", &total.to_string())
            }
        }
    });
    let billing = Component::start(accepted);
    let mut running = example
        .with("PRICING_TOKEN", "secret")
        .with_any_port("shop")
        .with("VELTRIX__HANDLERS__PRICE__URL", &pricing.url("/price"))
        .with("VELTRIX__SINKS__BILLING__URL", &billing.url("/orders"))
        .start();
    let address = running.address("shop");
    post(
        address,
        &event("1", "order.created", "c-1", r#"{"price":20}"#),
    );
    let approved = running.event();
    assert_eq!(approved["type"], "order.approved");
    assert_eq!(approved["id"], "1.price.0.approve.0");
    assert_eq!(approved["causationid"], "1.price.0");
    assert_eq!(approved["correlationid"], "1");
    assert_eq!(approved["data"], json!({"total": 20, "approved": true}));
    post(
        address,
        &event("2", "order.created", "c-1", r#"{"price":2000}"#),
    );
    let review = running.event();
    assert_eq!(review["type"], "order.priced");
    assert_eq!(review["data"]["total"], 2000);
    running.stop();
    assert_eq!(billing.next().json(), approved);
    assert!(billing.rest().is_empty());
    assert_eq!(pricing.next().header("authorization"), "Bearer secret");
}

pub(crate) fn child_process(example: Example) {
    let script = root().join("config/examples/score.py");
    let command = json!(["python3", script]).to_string();
    let ended = example
        .with("VELTRIX__HANDLERS__SCORE__COMMAND", &command)
        .run(&[
            &event(
                "1",
                "order.created",
                "c-1",
                r#"{"order":7,"price":25,"quantity":2}"#,
            ),
            &event(
                "2",
                "order.created",
                "c-1",
                r#"{"order":8,"price":0,"quantity":2}"#,
            ),
        ]);
    assert_eq!(each(&ended.events, "type"), ["order.scored"]);
    assert_eq!(ended.events[0]["data"], json!({"order": 7, "score": 0.5}));
}

pub(crate) fn dead_letters(example: Example) {
    let mut running = example
        .with_any_port("shop")
        .with("VELTRIX__SERVICE__ADMIN__LISTEN", "127.0.0.1:0")
        .start();
    let admin = running.record(|record| record["message"] == "admin listening");
    let admin = admin["address"].as_str().expect("an address").to_owned();
    let address = running.address("shop");
    post(address, &event("1", "order.created", "c", "{}"));
    post(
        address,
        &event("2", "order.created", "c", r#"{"price":5,"quantity":2}"#),
    );
    // One lane: the first is a dead letter before the second is a result.
    assert_eq!(running.event()["data"]["total"], 10);
    let is_logged = |record: &Value| record["message"] == "dead letter";
    assert_eq!(running.record(is_logged)["branch"], "handler.price");
    let list = Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(["dead-letters", "list", "--admin", &admin, "-o", "json"])
        .output()
        .expect("the binary");
    let list: Value = serde_json::from_slice(&list.stdout).expect("the list");
    assert_eq!(list["dead_letters"][0]["id"], "1");
    let ended = running.stop();
    let graves = ended.file("out/dead-letters.ndjson");
    assert_eq!(each(&graves, "type"), ["veltrix.dead-letter"]);
    assert_eq!(graves[0]["data"]["event"]["id"], "1");
}
