//! One case for each handler's example.

use serde_json::json;

use crate::peer::{Component, answer, event};
use crate::process::{Example, each};

pub(crate) fn handler_map(example: Example) {
    let ended = example.run(&[
        &event(
            "1",
            "order.created",
            "c-1",
            r#"{"price":9.99,"qty":3,"internal":"x"}"#,
        ),
        &event("2", "order.eu.amended", "c-1", r#"{"price":2,"qty":20}"#),
        &event("3", "order.created", "c-1", r#"{"price":2}"#),
    ]);
    let [first, second] = &ended.events[..] else {
        panic!("{:#?}", ended.events);
    };
    assert_eq!(first["type"], "order.priced");
    assert_eq!(first["id"], "1.price-order.0");
    assert_eq!(first["causationid"], "1");
    let data = json!({"price": 9.99, "quantity": 3, "total": 29.97, "buyer": {"id": "c-1"}, "size": "small"});
    assert_eq!(first["data"], data);
    assert_eq!(second["data"]["total"], 40);
    assert_eq!(second["data"]["size"], "bulk");
    assert_eq!(ended.summary["dropped"], 1);
}

pub(crate) fn handler_pass(example: Example) {
    let ended = example.run(&[
        &event("1", "order.created", "c-1", r#"{"price":20}"#),
        &event("2", "order.created", "c-1", r#"{"price":200}"#),
        &event("3", "order.paid", "c-1", r#"{"price":200}"#),
    ]);
    assert_eq!(each(&ended.events, "id"), ["2"]);
    let mut archived = ended.file("out/archive.ndjson");
    archived.sort_by_key(|event| event["id"].to_string());
    assert_eq!(each(&archived, "id"), ["1", "2", "2", "3"]);
}

pub(crate) fn handler_http(example: Example) {
    let component = Component::start(|request, _| match request.header("ce-id") {
        "1" => answer("200 OK", "application/json", r#"{"total":30}"#),
        _ => answer("204 No Content", "text/plain", ""),
    });
    let url = component.url("/price");
    let ended = example.with("VELTRIX__HANDLERS__PRICE__URL", &url).run(&[
        &event("1", "order.created", "c-1", r#"{"price":10,"quantity":3}"#),
        &event("2", "order.created", "c-1", "{}"),
    ]);
    let [result] = &ended.events[..] else {
        panic!("{:#?}", ended.events);
    };
    assert_eq!(result["type"], "order.priced");
    assert_eq!(result["causationid"], "1");
    assert_eq!(result["data"], json!({"total": 30}));
    let request = component.next();
    assert_eq!(request.header("ce-type"), "order.created");
    assert_eq!(request.json(), json!({"price": 10, "quantity": 3}));
}

pub(crate) fn handler_exec(example: Example) {
    let ended = example.run(&[&event("1", "order.created", "c-1", "{}")]);
    assert_eq!(each(&ended.events, "type"), ["order.seen"]);
    assert_eq!(each(&ended.events, "id"), ["1"]);
}
