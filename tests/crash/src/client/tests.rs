//! Clients against a server of the test's own, which breaks connections, refuses, and lies when it is told to.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use crate::arrivals::{Arrivals, Shape};
use crate::checker::{Allowed, Finding, check};
use crate::dice::Dice;
use crate::fleet::{Fleet, History, Target};
use crate::wire::read_message;
use crate::workload::Workload;

const SHAPE: Shape = Shape {
    id_end: "",
    event_type: None,
};
const CLIENTS: u16 = 16;

/// How the server treats one batch in 20 each; the others it takes in and acknowledges.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// It closes the connection, before or after it took the batch in, or refuses.
    Honest,
    /// It acknowledges what it does not take in.
    Forgetful,
    /// It takes in twice what came once.
    Repetitive,
}

enum Fate {
    Acked,
    Refused,
    Broken,
}

struct Server {
    manner: Manner,
    workload: Arc<Workload>,
    arrivals: Mutex<Arrivals>,
    epoch: AtomicU16,
    batches: AtomicU64,
}

impl Server {
    fn listen(self: &Arc<Self>, serve: fn(&Self, TcpStream)) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Arc::clone(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                std::thread::spawn(move || serve(&server, stream));
            }
        });
        address
    }

    fn receive(&self, lines: &[&str]) -> Fate {
        let mut dice = Dice::new(self.batches.fetch_add(1, Ordering::Relaxed));
        let fate = dice.below(20);
        let times = match (self.manner, fate) {
            (Manner::Honest, 0 | 2) | (Manner::Forgetful, 0) => 0,
            (Manner::Repetitive, 0) => 2,
            _ => 1,
        };
        let mut arrivals = self.arrivals.lock().expect("no panic inside");
        let epoch = self.epoch.load(Ordering::Relaxed);
        for line in (0..times).flat_map(|_| lines) {
            arrivals.take(line.as_bytes(), epoch, &self.workload, SHAPE);
        }
        match (self.manner, fate) {
            (Manner::Honest, 0 | 1) => Fate::Broken,
            (Manner::Honest, 2) => Fate::Refused,
            _ => Fate::Acked,
        }
    }

    fn serve_http(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a connection"));
        let mut stream = stream;
        while let Ok(Some(request)) = read_message(&mut reader) {
            let body = std::str::from_utf8(&request.body).expect("text");
            let events: Vec<&RawValue> = match body.starts_with('[') {
                true => serde_json::from_str(body).expect("events"),
                false => vec![serde_json::from_str(body).expect("an event")],
            };
            let lines: Vec<&str> = events.iter().map(|event| event.get()).collect();
            let status = match self.receive(&lines) {
                Fate::Acked => "202 Accepted",
                Fate::Refused => "503 Service Unavailable\r\nretry-after: 1",
                Fate::Broken => return,
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Answers line by line, so that a client's batch is often answered in part only.
    fn serve_tcp(&self, stream: TcpStream) {
        let mut answers = stream.try_clone().expect("a connection");
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let is_acked = matches!(self.receive(&[&line]), Fate::Acked);
            let answer = "{\"accepted\":1,\"rejected\":0,\"errors\":[]}\n";
            if !is_acked || answers.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// Lets clients send to a server until they got so many acks, half of them from its second process.
fn play(manner: Manner) -> (History, Finding) {
    let workload = Arc::new(Workload::new(3, CLIENTS, 200, 100));
    let server = Arc::new(Server {
        manner,
        workload: Arc::clone(&workload),
        arrivals: Mutex::default(),
        epoch: AtomicU16::new(0),
        batches: AtomicU64::new(0),
    });
    let fleet = Fleet::start(&workload, Duration::ZERO);
    let mut target = Target {
        epoch: 0,
        http: server.listen(Server::serve_http),
        tcp: server.listen(Server::serve_tcp),
        started: Instant::now(),
    };
    for epoch in 0..2 {
        target.epoch = epoch;
        server.epoch.store(epoch, Ordering::Relaxed);
        let before = fleet.acked();
        fleet.aim(Some(target));
        while fleet.acked() < before + 5_000 {
            std::thread::yield_now();
        }
    }
    let history = fleet.finish().expect("no client panics");
    let arrivals = std::mem::take(&mut *server.arrivals.lock().expect("no panic inside"));
    let allowed = Allowed {
        duplicates: Some(Default::default()),
    };
    let finding = check(&history.notes, &arrivals, |_| true, &allowed);
    (history, finding)
}

#[test]
fn clients_note_what_an_honest_server_did_whatever_breaks() {
    let (history, finding) = play(Manner::Honest);
    assert_eq!(history.complaints, Vec::<String>::new());
    assert_eq!(finding.violations, Vec::<String>::new());
    assert!(finding.acked >= 10_000, "{finding:?}");
    assert!(history.refused > 0, "nothing was refused");
    assert!(finding.unknown_arrived > 0, "{finding:?}");
    assert!(finding.unknown > finding.unknown_arrived, "{finding:?}");
    let notes = || history.notes.iter().flatten();
    assert!(notes().any(|note| note.is_acked && note.sent > 1));
    assert!(notes().any(|note| note.is_loose));
    assert_eq!(history.first_acks.len(), 2);
}

#[test]
fn a_server_that_forgets_is_found_out() {
    let (_, finding) = play(Manner::Forgetful);
    let text = finding.violations.join("\n");
    assert!(text.contains("acknowledged events lost"), "{text}");
}

#[test]
fn a_server_that_repeats_is_found_out() {
    let (_, finding) = play(Manner::Repetitive);
    let text = finding.violations.join("\n");
    assert!(
        text.contains("events again, at most 0 are allowed"),
        "{text}"
    );
}
