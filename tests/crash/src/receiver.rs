//! Receives what Veltrix's http sinks deliver, and notes it before it answers.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::value::RawValue;

use crate::arrivals::{Arrivals, Shape};
use crate::wire::{Message, read_message};
use crate::workload::Workload;

/// The header by which a process says how many were started before it.
pub(crate) const EPOCH_HEADER: &str = "x-crash-epoch";

/// Receives for several sinks, told apart by path.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    workload: Arc<Workload>,
    sinks: BTreeMap<String, Sink>,
}

struct Sink {
    shape: Shape,
    is_open: AtomicBool,
    arrivals: Mutex<Arrivals>,
    count: AtomicU64,
    last: Mutex<Instant>,
}

impl Receiver {
    /// Listens, for sinks called so.
    pub(crate) fn start(workload: &Arc<Workload>, sinks: &[(&str, Shape)]) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let sink = |shape| Sink {
            shape,
            is_open: AtomicBool::new(true),
            arrivals: Mutex::default(),
            count: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
        };
        let sinks = sinks
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), sink(*shape)));
        let shared = Arc::new(Shared {
            workload: Arc::clone(workload),
            sinks: sinks.collect(),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&own);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where a sink posts to.
    pub(crate) fn url(&self, sink: &str) -> String {
        format!("http://{}/{sink}", self.address)
    }

    /// Takes in what comes to a sink, or answers it with 503.
    pub(crate) fn open(&self, sink: &str, is_open: bool) {
        self.shared.sinks[sink]
            .is_open
            .store(is_open, Ordering::Release);
    }

    /// How many deliveries there were at a sink, and when the last one was.
    pub(crate) fn count(&self, sink: &str) -> (u64, Instant) {
        let sink = &self.shared.sinks[sink];
        let last = *sink.last.lock().expect("no panic inside");
        (sink.count.load(Ordering::Acquire), last)
    }

    /// What arrived at a sink so far; it is taken out.
    pub(crate) fn take(&self, sink: &str) -> Arrivals {
        std::mem::take(
            &mut self.shared.sinks[sink]
                .arrivals
                .lock()
                .expect("no panic inside"),
        )
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    // A sender that is killed breaks its connections off; what came whole was noted.
    let Ok(reading) = stream.try_clone() else {
        return;
    };
    drop(stream.set_nodelay(true));
    let mut reader = BufReader::with_capacity(256 * 1024, reading);
    let mut stream = stream;
    while let Ok(Some(request)) = read_message(&mut reader) {
        let status = match note(&request, shared) {
            true => "202 Accepted",
            false => "503 Service Unavailable",
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Notes the events of a request; false if the sink is closed.
fn note(request: &Message, shared: &Shared) -> bool {
    let path = request.head.split(' ').nth(1).unwrap_or_default();
    let Some(sink) = shared.sinks.get(path.trim_start_matches('/')) else {
        return false;
    };
    if !sink.is_open.load(Ordering::Acquire) {
        return false;
    }
    let epoch = request
        .header(EPOCH_HEADER)
        .and_then(|epoch| epoch.parse().ok());
    let epoch = epoch.unwrap_or(u16::MAX);
    let events: Result<Vec<&RawValue>, _> = serde_json::from_slice(&request.body);
    let mut arrivals = sink.arrivals.lock().expect("no panic inside");
    let count = match events {
        Ok(events) => {
            for event in &events {
                arrivals.take(event.get().as_bytes(), epoch, &shared.workload, sink.shape);
            }
            events.len()
        }
        Err(_) => {
            arrivals.take(&request.body, epoch, &shared.workload, sink.shape);
            1
        }
    };
    *sink.last.lock().expect("no panic inside") = Instant::now();
    sink.count.fetch_add(count as u64, Ordering::AcqRel);
    true
}
