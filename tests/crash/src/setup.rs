//! The config under test: two durable sources, handlers over lanes, a second hop through the router, three sinks.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::arrivals::Shape;
use crate::receiver::{EPOCH_HEADER, Receiver};
use crate::workload::Workload;

/// What sources promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// Accepted events survive the process.
    Journal,
    /// They do not: every crash is expected to lose some, which shows that the harness would see it.
    None,
}

impl fmt::Display for Durability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Journal => "journal",
            Self::None => "none",
        })
    }
}

/// What a run's config is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Handlers and sinks.
    pub wiring: Wiring,
    /// Of both sources.
    pub durability: Durability,
    /// `sync` of the file sinks; none leaves it out.
    pub file_sync: Option<String>,
    /// `journal.segment`.
    pub segment_bytes: u64,
    /// `journal.retain.size`.
    pub retain_bytes: u64,
    /// How long a drain may take.
    pub drain: Duration,
}

/// Which handlers and sinks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// Two files and a receiver, one of the files behind a second hop.
    Usual,
    /// The same with receivers in place of the files.
    Received,
    /// A receiver that will be down, a neighbour on the same handler, another one on the same sources.
    Neighbours,
}

/// A sink of the config, and which events it gets.
#[derive(Debug)]
pub(crate) struct SinkUnderTest {
    /// Its name; a file sink writes to `out/NAME.ndjson`.
    pub(crate) name: &'static str,
    /// Whether it is a file, or else the receiver's.
    pub(crate) is_file: bool,
    /// What its events look like.
    pub(crate) shape: Shape,
    /// Whether a key's events go there.
    pub(crate) goes_there: fn(u16) -> bool,
}

const AS_SENT: Shape = Shape {
    id_end: "",
    event_type: None,
};
const FORWARDED: Shape = Shape {
    id_end: ".forward.0",
    event_type: Some("crash.forwarded"),
};
const ENRICHED: Shape = Shape {
    id_end: ".enrich.0",
    event_type: Some("crash.enriched"),
};

const fn sink(name: &'static str, is_file: bool, shape: Shape) -> SinkUnderTest {
    SinkUnderTest {
        name,
        is_file,
        shape,
        goes_there: |_| true,
    }
}

const USUAL: &[SinkUnderTest] = &[
    sink("ledger", true, AS_SENT),
    sink("hook", false, FORWARDED),
    SinkUnderTest {
        goes_there: Workload::has_second_hop,
        ..sink("second", true, ENRICHED)
    },
];

const RECEIVED: &[SinkUnderTest] = &[
    sink("ledger", false, AS_SENT),
    sink("hook", false, FORWARDED),
    SinkUnderTest {
        goes_there: Workload::has_second_hop,
        ..sink("second", false, ENRICHED)
    },
];

const NEIGHBOURS: &[SinkUnderTest] = &[
    sink("down", false, AS_SENT),
    sink("beside", true, AS_SENT),
    sink("hook", false, FORWARDED),
    sink("ledger", true, FORWARDED),
];

impl Wiring {
    /// Its sinks.
    pub(crate) fn sinks(self) -> &'static [SinkUnderTest] {
        match self {
            Self::Usual => USUAL,
            Self::Received => RECEIVED,
            Self::Neighbours => NEIGHBOURS,
        }
    }

    fn handlers(self) -> Value {
        let forward = |to: &[&str]| {
            json!({
                "type": "map", "on": "load.*", "set": { "data.next": "data.number + 1" },
                "emit": "crash.forwarded", "to": to, "key": "subject", "lanes": 4,
            })
        };
        let pass = |on: &str, to: &[&str]| json!({ "type": "pass", "on": on, "to": to, "key": "subject", "lanes": 4 });
        match self {
            Self::Usual | Self::Received => json!({
                "store": pass("load.*", &["ledger"]),
                "forward": forward(&["hook"]),
                "enrich": {
                    "type": "map", "on": "load.twice", "set": { "data.hop": "1" },
                    "emit": "crash.enriched", "to": ["router"], "key": "subject", "lanes": 2,
                },
                "keep": pass("crash.enriched", &["second"]),
            }),
            Self::Neighbours => json!({
                "store": pass("load.*", &["down", "beside"]),
                "forward": forward(&["hook", "ledger"]),
            }),
        }
    }
}

impl Setup {
    /// The config of the process with this epoch.
    pub(crate) fn config(&self, data_dir: &Path, receiver: &Receiver, epoch: u16) -> Value {
        let durability = self.durability.to_string();
        let mut config = json!({
            "service": {
                "name": "crash",
                "data_dir": data_dir,
                "drain_timeout": format!("{}ms", self.drain.as_millis()),
                "admin": { "listen": "127.0.0.1:0" },
            },
            "sources": {
                "web": { "type": "http", "listen": "127.0.0.1:0", "path": "/events", "durability": durability },
                "feed": { "type": "tcp", "listen": "127.0.0.1:0", "ack": true, "durability": durability },
            },
            "handlers": self.wiring.handlers(),
            "sinks": {},
        });
        for sink in self.wiring.sinks() {
            config["sinks"][sink.name] = self.sink(sink, receiver, epoch);
        }
        if self.durability == Durability::Journal {
            config["journal"] = json!({
                "segment": kibibytes(self.segment_bytes),
                "retain": { "size": kibibytes(self.retain_bytes), "age": "1h" },
            });
        }
        config
    }

    fn sink(&self, sink: &SinkUnderTest, receiver: &Receiver, epoch: u16) -> Value {
        if !sink.is_file {
            return json!({
                "type": "http", "url": receiver.url(sink.name), "mode": "batched",
                "batch": { "events": 1_024, "bytes": "1MiB" },
                "headers": { EPOCH_HEADER: epoch.to_string() },
                "retry": { "min": "10ms", "max": "200ms" },
            });
        }
        let mut file = json!({ "type": "file", "path": format!("out/{}.ndjson", sink.name) });
        if let Some(sync) = &self.file_sync {
            file["sync"] = json!(sync);
        }
        file
    }
}

fn kibibytes(bytes: u64) -> String {
    format!("{}KiB", bytes >> 10)
}
