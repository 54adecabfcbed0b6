//! An HTTP component on a port of its own: it answers as told and remembers what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

type Requests = Arc<Mutex<Vec<Request>>>;

pub(crate) struct Receiver {
    address: SocketAddr,
    requests: Requests,
}

impl Receiver {
    /// Answers with what `answer` makes of a request and the number of requests before it.
    pub(crate) fn start(
        answer: impl Fn(&Request, usize) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let requests = Requests::default();
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &seen, &*answer));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests
            .lock()
            .expect("no panic while it was held")
            .clone()
    }
}

fn serve(stream: TcpStream, seen: &Requests, answer: &dyn Fn(&Request, usize) -> String) {
    let mut writer = stream.try_clone().expect("a second handle");
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let number = {
            let mut seen = seen.lock().expect("no panic while it was held");
            seen.push(request.clone());
            seen.len() - 1
        };
        if writer
            .write_all(answer(&request, number).as_bytes())
            .is_err()
        {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut request = Request::default();
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|len| *len > 0)?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|len| *len > 0)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => {
                let header = (name.to_ascii_lowercase(), value.to_owned());
                request.headers.push(header);
            }
            None => break,
        }
    }
    let length = request
        .header("content-length")
        .map_or("0", |length| length);
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}

/// An answer with a body, or none if `body` is empty.
pub(crate) fn answer(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
