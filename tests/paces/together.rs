//! How many at once: threads, requests.

use serde_json::json;

use super::gate::Gate;
use super::metrics::Metrics;
use super::process::{Process, request};
use super::{config, is_at_rest, threads};

#[test]
fn threads_of_http_are_as_many_as_the_config_says() {
    let with = |count: usize| {
        let http = json!({ "type": "http", "listen": "127.0.0.1:0", "threads": count });
        let sources = json!({ "in": http });
        let config = config(sources, json!({ "out": { "type": "blackhole" } }));
        let mut process = Process::start(&config.to_string());
        process.running();
        // Who answers has all its threads.
        for address in [process.address("in"), process.admin()] {
            assert_eq!(request(address, "GET", "/nowhere", &[], b"").status, 404);
        }
        let all = threads(&process);
        let found = all
            .iter()
            .filter(|line| line.contains("(actix-rt|"))
            .count();
        process.stop().assert_drained();
        found
    };
    assert_eq!(with(4), with(1) + 3);
}

#[test]
fn concurrency_of_a_handler_is_the_number_of_its_requests_under_way() {
    for concurrency in [1, 5] {
        let gate = Gate::closed();
        let load = json!({ "type": "generate", "rate": "max", "count": 200 });
        let mut config = config(
            json!({ "load": load }),
            json!({ "out": { "type": "blackhole" } }),
        );
        config["handlers"]["all"] = json!({
            "on": ">", "type": "http", "to": "out", "url": gate.url(), "concurrency": concurrency,
        });
        let mut process = Process::start(&config.to_string());
        let admin = process.admin();
        process.until("all events", || {
            Metrics::of(admin).source("accepted", "load") == 200.0
        });
        let mut asked = 0;
        while asked < concurrency || !is_at_rest(&process) {
            process.pause();
            asked = gate.asked();
        }
        assert_eq!(asked, concurrency);
        gate.open();
        process.wait().assert_drained();
        assert_eq!(gate.asked(), 200);
    }
}
