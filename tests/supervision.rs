//! The matrix of supervision: each layer × each fault × lanes × key, in the real binary, beside a pipeline that must not notice.

#[path = "supervision/breaker.rs"]
mod breaker;
#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/gate.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod gate;
#[path = "supervision/matrix.rs"]
mod matrix;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "supervision/outages.rs"]
mod outages;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "support/stub_server.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod stub_server;

use folder::Folder;
use matrix::{Cell, Fault, Layer, faults};
use serde_json::{Value, json};
use stub_server::{Receiver, answer};

/// How many lanes, and whether a key keeps their events in order. One lane keeps all in order, whatever the key.
const LANES: [(usize, bool); 3] = [(1, true), (4, true), (4, false)];

/// Runs each fault at the layer with each number of lanes, with and without a key.
fn run_all(layer: Layer, faults: &[Fault], part: impl Fn(&mut Value, &Folder)) {
    for fault in faults {
        for (lanes, is_keyed) in LANES {
            Cell::new(layer, *fault, lanes, is_keyed).run(&part);
        }
    }
}

fn echo() -> Receiver {
    Receiver::start(|request, _| answer("200 OK", "application/cloudevents+json", &request.body))
}

#[test]
fn a_source_that_fails_is_started_again_and_what_it_accepted_goes_on() {
    run_all(Layer::Source, &faults::OF_SOURCES, |_, _| {});
}

#[test]
fn a_router_that_dies_or_is_held_up_loses_repeats_and_disorders_nothing() {
    run_all(Layer::Router, &faults::OF_THE_ROUTER, |_, _| {});
}

#[test]
fn a_handler_that_maps_fails_for_its_events_only() {
    run_all(Layer::Handler, &faults::OF_HANDLERS, |config, _| {
        config["handlers"]["worked"]["type"] = json!("map");
        config["handlers"]["worked"]["set"] = json!({ "data.mapped": "true" });
    });
}

#[test]
fn a_handler_in_rust_fails_for_its_events_only() {
    run_all(Layer::Handler, &faults::OF_HANDLERS, |_, _| {});
}

#[test]
fn a_handler_in_rust_with_a_thread_of_its_own_fails_for_its_events_only() {
    run_all(Layer::Handler, &faults::OF_HANDLERS, |config, _| {
        config["handlers"]["worked"]["isolation"] = json!("thread");
    });
}

#[test]
fn a_handler_that_asks_over_http_fails_for_its_events_only() {
    let component = echo();
    run_all(Layer::Handler, &faults::OF_HANDLERS, |config, _| {
        config["handlers"]["worked"]["type"] = json!("http");
        config["handlers"]["worked"]["url"] = json!(component.url());
    });
}

#[test]
fn a_handler_with_a_child_process_fails_for_its_events_only() {
    run_all(Layer::Handler, &faults::OF_HANDLERS, |config, _| {
        config["handlers"]["worked"]["type"] = json!("exec");
        config["handlers"]["worked"]["command"] = json!(["cat"]);
    });
}

#[test]
fn a_sink_that_writes_files_keeps_what_it_could_not_write() {
    run_all(Layer::Sink, &faults::ALL, |_, _| {});
}

#[test]
fn a_sink_that_posts_keeps_what_it_could_not_deliver() {
    for fault in faults::ALL {
        for (lanes, is_keyed) in LANES {
            let receiver = Receiver::start(|_, _| answer("200 OK", "text/plain", ""));
            let cell = Cell::new(Layer::Sink, fault, lanes, is_keyed);
            let sink = json!({ "type": "http", "url": receiver.url(), "concurrency": 3 });
            let received = || {
                let requests = receiver.requests().into_iter();
                requests.map(|request| request.body).collect()
            };
            cell.delivering_to(&received)
                .run(&|config: &mut Value, _: &Folder| config["sinks"]["out"] = sink.clone());
        }
    }
}

#[test]
fn a_sink_that_streams_keeps_what_it_could_not_deliver() {
    for fault in faults::ALL {
        for (lanes, is_keyed) in LANES {
            let peer = matrix::Peer::start();
            let cell = Cell::new(Layer::Sink, fault, lanes, is_keyed);
            let sink = json!({ "type": "tcp", "address": peer.address() });
            let received = || peer.lines();
            cell.delivering_to(&received)
                .run(&|config: &mut Value, _: &Folder| config["sinks"]["out"] = sink.clone());
        }
    }
}

#[test]
fn dead_letters_are_kept_while_the_sink_of_their_copies_fails() {
    run_all(Layer::DeadLetters, &faults::ALL, |config, folder| {
        config["sinks"]["graves"] = json!({ "type": "file", "path": folder.path("graves") });
        config["dead_letters"] = json!({ "also_to": "graves" });
        let broken = json!({ "at": "handler.worked", "error": "permanent", "probability": 0.3 });
        let inject = config["faults"]["inject"].as_array_mut();
        inject.expect("a list").push(broken);
    });
}
