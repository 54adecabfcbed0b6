//! The sink of one component: takes connections, reads results, and finds in each which event it is of.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use memchr::memmem;

use super::events::passed_sum;

const READ_BYTES: usize = 256 * 1024;
/// What stands before an event's number in a result, and before the sum.
const NUMBER: &[u8] = b"\"data\":{\"n\":";
/// What stands before an event's id.
const ID: &[u8] = b"\"id\":\"";
const SUM: &[u8] = b",\"sum\":";
const TAKEN: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const CONTENT_LENGTH: &[u8] = b"content-length:";

pub(crate) struct Receiver {
    listener: TcpListener,
    address: SocketAddr,
    connections: Vec<Connection>,
    form: Form,
    is_unwilling: bool,
}

/// How results come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One a line.
    Lines,
    /// One a request.
    Requests,
    /// One a line, and each is the event itself.
    Passed,
}

struct Connection {
    stream: TcpStream,
    /// What has come; `rest` bytes of it are the start of a result.
    buffer: Vec<u8>,
    rest: usize,
}

impl Receiver {
    pub(crate) fn listen(form: Form) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            connections: Vec::new(),
            form,
            is_unwilling: false,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections that are read at this moment.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &TcpStream> {
        let is_read = self.form == Form::Requests || !self.is_unwilling;
        let streams = self.connections.iter().map(|connection| &connection.stream);
        streams.filter(move |_| is_read)
    }

    /// While it is, it reads no lines, and answers requests with 503.
    pub(crate) fn set_unwilling(&mut self, is: bool) {
        self.is_unwilling = is;
    }

    pub(crate) fn is_connected(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Takes the connections that wait.
    pub(crate) fn accept(&mut self) -> std::io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    self.connections.push(Connection {
                        stream,
                        buffer: vec![0; READ_BYTES],
                        rest: 0,
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads once from each connection, and tells number and sum of each result.
    pub(crate) fn read(&mut self, mut arrived: impl FnMut(usize, u64)) {
        let (form, is_unwilling) = (self.form, self.is_unwilling);
        self.connections.retain_mut(|connection| {
            let Some(end) = connection.fill() else {
                return false;
            };
            match form {
                Form::Requests => connection.take_requests(end, is_unwilling, &mut arrived),
                Form::Lines => connection.take_lines(end, result, &mut arrived),
                Form::Passed => connection.take_lines(end, passed, &mut arrived),
            }
        });
    }
}

impl Connection {
    /// Where what has come ends; none if the connection has ended.
    fn fill(&mut self) -> Option<usize> {
        if self.rest == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.rest..]) {
            Ok(0) => None,
            Ok(bytes) => Some(self.rest + bytes),
            Err(error) => (error.kind() == ErrorKind::WouldBlock).then_some(self.rest),
        }
    }

    fn take_lines(
        &mut self,
        end: usize,
        read: fn(&[u8]) -> Option<(usize, u64)>,
        arrived: &mut impl FnMut(usize, u64),
    ) -> bool {
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &self.buffer[start..end]) {
            tell(read(&self.buffer[start..start + length]), arrived);
            start += length + 1;
        }
        self.keep(start, end);
        true
    }

    /// False if the answers cannot be written.
    fn take_requests(
        &mut self,
        end: usize,
        is_unwilling: bool,
        arrived: &mut impl FnMut(usize, u64),
    ) -> bool {
        let mut start = 0;
        while let Some(length) = request_length(&self.buffer[start..end]) {
            let answer = match is_unwilling {
                true => UNAVAILABLE,
                false => TAKEN,
            };
            if self.stream.write_all(answer).is_err() {
                return false;
            }
            if !is_unwilling {
                tell(result(&self.buffer[start..start + length]), arrived);
            }
            start += length;
        }
        self.keep(start, end);
        true
    }

    fn keep(&mut self, start: usize, end: usize) {
        self.buffer.copy_within(start..end, 0);
        self.rest = end - start;
    }
}

/// Head and body, if all of it is there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let mut lines = bytes[..head].split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(CONTENT_LENGTH.len())?;
        name.eq_ignore_ascii_case(CONTENT_LENGTH).then_some(value)
    });
    let (body, _) = digits(value.unwrap_or_default().trim_ascii_start());
    let length = head + usize::try_from(body).ok()?;
    (length <= bytes.len()).then_some(length)
}

/// A text that is no result is one that nobody asked for.
fn tell(result: Option<(usize, u64)>, arrived: &mut impl FnMut(usize, u64)) {
    let (number, sum) = result.unwrap_or((usize::MAX, 0));
    arrived(number, sum);
}

fn result(text: &[u8]) -> Option<(usize, u64)> {
    let number = memmem::rfind(text, NUMBER)? + NUMBER.len();
    let (number, rest) = digits(&text[number..]);
    let (sum, _) = digits(rest.strip_prefix(SUM)?);
    Some((usize::try_from(number).ok()?, sum))
}

/// The number and the sum of an event that was passed on.
fn passed(text: &[u8]) -> Option<(usize, u64)> {
    let id = memmem::find(text, ID)? + ID.len();
    let (number, after_id) = digits(&text[id..]);
    Some((usize::try_from(number).ok()?, passed_sum(after_id)))
}

fn digits(text: &[u8]) -> (u64, &[u8]) {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let add = |number: u64, digit: &u8| {
        number
            .wrapping_mul(10)
            .wrapping_add(u64::from(digit - b'0'))
    };
    (text[..length].iter().fold(0, add), &text[length..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_sum_are_found() {
        let line = br#"{"id":"7.c1.0","subject":"x","data":{"n":7,"sum":18446744073709551615}}"#;
        assert_eq!(result(line), Some((7, u64::MAX)));
        assert_eq!(result(b"{}"), None);
        let event = br#"{"specversion":"1.0","id":"12","source":"/s","type":"t"}"#;
        let rest = br#"","source":"/s","type":"t"}"#;
        assert_eq!(passed(event), Some((12, passed_sum(rest))));
    }

    /// Sends byte by byte until so many results have come.
    fn found(
        receiver: &mut Receiver,
        stream: &mut TcpStream,
        text: &[u8],
        count: usize,
    ) -> Vec<(usize, u64)> {
        let (mut found, mut sent) = (Vec::new(), 0);
        while sent < text.len() || found.len() < count {
            if sent < text.len() {
                stream.write_all(&text[sent..=sent]).unwrap();
                sent += 1;
            }
            receiver.accept().unwrap();
            receiver.read(|number, sum| found.push((number, sum)));
        }
        found
    }

    #[test]
    fn lines_that_come_in_pieces_are_put_together() {
        let mut receiver = Receiver::listen(Form::Lines).unwrap();
        let mut stream = TcpStream::connect(receiver.address()).unwrap();
        let text = b"{\"data\":{\"n\":1,\"sum\":2}}\n{\"data\":{\"n\":3,\"sum\":4}}\nno result\n";
        let found = found(&mut receiver, &mut stream, text, 3);
        assert_eq!(found, [(1, 2), (3, 4), (usize::MAX, 0)]);
        receiver.set_unwilling(true);
        assert_eq!(receiver.streams().count(), 0);
    }

    #[test]
    fn requests_are_answered_and_only_what_is_taken_has_arrived() {
        let mut receiver = Receiver::listen(Form::Requests).unwrap();
        let mut stream = TcpStream::connect(receiver.address()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let body = "{\"data\":{\"n\":1,\"sum\":2}}";
        let length = body.len();
        let request = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut exchange = |is_unwilling: bool| {
            receiver.set_unwilling(is_unwilling);
            let (mut found, mut answer) = (Vec::new(), vec![0; 1024]);
            stream.write_all(request.as_bytes()).unwrap();
            loop {
                receiver.accept().unwrap();
                receiver.read(|number, sum| found.push((number, sum)));
                if let Ok(bytes) = stream.read(&mut answer) {
                    answer.truncate(bytes);
                    return (found, answer);
                }
            }
        };
        assert_eq!(exchange(false), (vec![(1, 2)], TAKEN.to_vec()));
        assert_eq!(exchange(true), (vec![], UNAVAILABLE.to_vec()));
        assert_eq!(exchange(false), (vec![(1, 2)], TAKEN.to_vec()));
    }
}
