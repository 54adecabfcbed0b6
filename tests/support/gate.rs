//! An HTTP receiver that holds its answers back until the test lets them go.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// Listens until the test ends.
pub(crate) struct Gate {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_open: Mutex<bool>,
    opened: Condvar,
    asked: AtomicUsize,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn closed() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    /// Where to post to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Answers all requests from now on with 202.
    pub(crate) fn open(&self) {
        *self.state.is_open.lock().expect("no panic inside") = true;
        self.state.opened.notify_all();
    }

    /// Holds all answers back again.
    pub(crate) fn close(&self) {
        *self.state.is_open.lock().expect("no panic inside") = false;
    }

    /// Requests that have come.
    pub(crate) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::Acquire)
    }
}

fn serve(stream: TcpStream, state: &State) {
    let mut reader = BufReader::new(stream.try_clone().expect("a connection"));
    let mut stream = stream;
    while read(&mut reader).is_some() {
        state.asked.fetch_add(1, Ordering::AcqRel);
        let is_open = state.is_open.lock().expect("no panic inside");
        let is_open = state.opened.wait_while(is_open, |is_open| !*is_open);
        drop(is_open.expect("no panic inside"));
        let answer = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads one request, of which only the length matters.
fn read(reader: &mut impl BufRead) -> Option<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()
}
