//! How much: in one request, on disk.

use serde_json::{Value, json};

use super::config;
use super::folder::Folder;
use super::gate::Gate;
use super::metrics::Metrics;
use super::process::Process;
use super::stub_server::{Receiver, answer};

#[test]
fn a_batch_has_no_more_bytes_than_the_config_says() {
    for (bytes, bytes_max) in [("1KiB", 1 << 10), ("8KiB", 8 << 10)] {
        let receiver = Receiver::start(|_, _| answer("204 No Content", "text/plain", ""));
        let sink = json!({
            "type": "http", "url": receiver.url(), "mode": "batched", "concurrency": 1,
            "batch": { "events": 1024, "bytes": bytes },
        });
        // They come to the sink as one.
        let load = json!({ "type": "generate", "rate": "max", "count": 200 });
        let config = config(json!({ "load": load }), json!({ "out": sink }));
        Process::start(&config.to_string()).wait().assert_drained();
        let mut sizes = Vec::new();
        let mut count = 0;
        for request in receiver.requests() {
            let events: Vec<Value> = serde_json::from_str(&request.body).expect("events");
            // Without what holds them together: brackets, and commas between them.
            sizes.push(request.body.len() - 1 - events.len());
            count += events.len();
        }
        assert_eq!(count, 200);
        let largest = sizes.iter().max().expect("a request");
        assert!(
            (bytes_max / 2..=bytes_max).contains(largest),
            "{bytes}: {sizes:?}"
        );
    }
}

const FULL: &str = "no room for the sink's overflow, its senders wait";

#[test]
fn overflow_is_how_much_may_wait_on_disk_for_a_slow_sink() {
    for (overflow, is_enough) in [("1KiB", false), ("64MiB", true)] {
        let (folder, gate) = (Folder::new(), Gate::closed());
        let load =
            json!({ "type": "generate", "rate": "max", "count": 20_000, "durability": "journal" });
        let sinks = json!({
            "out": { "type": "blackhole" },
            "slow": { "type": "http", "url": gate.url(), "mode": "batched" },
        });
        let mut config = config(json!({ "load": load }), sinks);
        config["service"]["data_dir"] = json!(folder.path("data"));
        config["journal"] = json!({ "overflow": overflow, "segment": "1MiB" });
        let mut process = Process::start(&config.to_string());
        let admin = process.admin();
        if is_enough {
            process.until("all events at the other sink", || {
                Metrics::of(admin).sink("delivered", "out") == 20_000.0
            });
        } else {
            process.log(|record| record["message"] == FULL);
            let metrics = Metrics::of(admin);
            assert!(metrics.sink("delivered", "out") < 20_000.0, "{metrics:?}");
        }
        gate.open();
        let ended = process.wait();
        ended.assert_drained();
        assert_eq!(ended.records(FULL).is_empty(), is_enough);
    }
}
