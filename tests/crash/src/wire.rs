//! As much HTTP/1.1 and lines over sockets as clients, receiver and probes need.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a socket waits for its peer before that counts as no answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A request or an answer.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) head: String,
    /// Lower-case names.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// The status code of an answer.
    pub(crate) fn status(&self) -> io::Result<u16> {
        let code = self
            .head
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok());
        code.ok_or_else(|| broken("no status line"))
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads one message; none at the end of the stream.
pub(crate) fn read_message(reader: &mut impl BufRead) -> io::Result<Option<Message>> {
    let mut message = Message::default();
    if reader.read_line(&mut message.head)? == 0 {
        return Ok(None);
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(broken("the head ends too early"));
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let name = name.to_ascii_lowercase();
        message.headers.push((name, value.trim().to_owned()));
    }
    match message.header("content-length").map(str::parse) {
        None if message.header("transfer-encoding").is_some() => {
            return Err(broken("a length was expected, not chunks"));
        }
        None => {}
        Some(Ok(length)) => {
            message.body = vec![0; length];
            reader.read_exact(&mut message.body)?;
        }
        Some(Err(_)) => return Err(broken("the length is no number")),
    }
    Ok(Some(message))
}

/// A connection that is written and read in turns.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            reader: BufReader::new(stream),
        })
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn request(
        &mut self,
        line: &str,
        content_type: &str,
        body: &str,
    ) -> io::Result<Message> {
        let text = format!(
            "{line} HTTP/1.1\r\nhost: crash\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.write(&text)?;
        read_message(&mut self.reader)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())
    }

    /// The next line, whole.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        if line.ends_with('\n') {
            return Ok(line);
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Asks once over a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<Message> {
    let mut connection = Connection::open(address)?;
    connection.request(&format!("GET {path}"), "text/plain", "")
}
