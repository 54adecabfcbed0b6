//! A receiver for the tests of what uses the client: it answers each request with raw text, and remembers the request.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Number of the connection that it came over.
    pub(crate) connection: usize,
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// Stops listening when it is dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    requests: Rc<RefCell<Vec<Request>>>,
    listening: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Receiver {
    /// Answers each request with what `answer` makes of it; an empty answer never comes.
    pub(crate) async fn start(answer: impl Fn(&Request) -> String + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Rc::new(RefCell::new(Vec::new()));
        let (seen, answer) = (Rc::clone(&requests), Rc::new(answer));
        let listening = actix_rt::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connection += 1;
                let (seen, answer) = (Rc::clone(&seen), Rc::clone(&answer));
                actix_rt::spawn(serve(stream, connection, seen, answer));
            }
        });
        Self {
            address,
            requests,
            listening,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.borrow().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    seen: Rc<RefCell<Vec<Request>>>,
    answer: Rc<impl Fn(&Request) -> String>,
) {
    let mut bytes = Vec::new();
    loop {
        while let Some((request, len)) = parse(&bytes, connection) {
            bytes.drain(..len);
            let text = answer(&request);
            seen.borrow_mut().push(request);
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// The first complete request in `bytes`, and its length.
fn parse(bytes: &[u8], connection: usize) -> Option<(Request, usize)> {
    let head_len = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_len]).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse::<usize>().unwrap());
    let body = bytes.get(head_len..head_len + length)?;
    let request = Request {
        connection,
        line,
        headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    Some((request, head_len + length))
}
