//! What the process talks to: receivers that show a test what they get, and one request to a source.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::Value;

use crate::process::PATIENCE;

/// A request that arrived.
pub(crate) struct Request {
    /// With lower-case names.
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
}

/// What a component does with a request and the number of requests before it.
type Behaviour = dyn Fn(&Request, usize) -> String + Send + Sync;

/// An HTTP component, until the test's process ends.
pub(crate) struct Component {
    address: SocketAddr,
    requests: Receiver<Request>,
}

impl Component {
    /// Answers as `behaviour` says, with the text of [`answer`].
    pub(crate) fn start(
        behaviour: impl Fn(&Request, usize) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, requests) = sync_channel(10_000);
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let count = Arc::new(AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (sender, behaviour) = (sender.clone(), Arc::clone(&behaviour));
                let count = Arc::clone(&count);
                std::thread::spawn(move || serve(stream, &sender, &count, &*behaviour));
            }
        });
        Self { address, requests }
    }

    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request.
    pub(crate) fn next(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }

    /// All requests that nobody took.
    pub(crate) fn rest(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

/// An answer with a body, if that is not empty.
pub(crate) fn answer(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn serve(
    stream: TcpStream,
    requests: &SyncSender<Request>,
    count: &AtomicUsize,
    behaviour: &Behaviour,
) {
    let mut writer = stream.try_clone().expect("a second handle");
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let answer = behaviour(&request, number);
        if requests.send(request).is_err() || writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut headers = Vec::new();
    let mut line = String::new();
    while reader
        .read_line(&mut line)
        .ok()
        .filter(|bytes| *bytes > 0)?
        > 2
    {
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        line.clear();
    }
    let mut request = Request {
        headers,
        body: String::new(),
    };
    let length: u64 = request.header("content-length").parse().ok()?;
    reader.take(length).read_to_string(&mut request.body).ok()?;
    Some(request)
}

/// Sends one request on a connection of its own; the answer's head and body.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let mut text = format!("{method} /events HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(text.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// Posts one event in structured mode, which is accepted.
pub(crate) fn post(address: SocketAddr, event: &str) {
    let headers = [("content-type", "application/cloudevents+json")];
    let answer = request(address, "POST", &headers, event);
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

/// An event's line; `data` is JSON.
pub(crate) fn event(id: &str, event_type: &str, subject: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"{event_type}","subject":"{subject}","data":{data}}}"#
    )
}
