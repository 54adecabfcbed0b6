//! The sink of one component: takes connections, reads results, and finds in each which event it is of.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use memchr::memmem;

const READ_BYTES: usize = 256 * 1024;
/// What stands before an event's number in a result, and before the sum.
const NUMBER: &[u8] = b"\"data\":{\"n\":";
const SUM: &[u8] = b",\"sum\":";

pub(crate) struct Receiver {
    listener: TcpListener,
    address: SocketAddr,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    /// What has come; `rest` bytes of it are the start of a line.
    buffer: Vec<u8>,
    rest: usize,
}

impl Receiver {
    pub(crate) fn listen() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            connections: Vec::new(),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = &TcpStream> {
        self.connections.iter().map(|connection| &connection.stream)
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
        self.connections
            .retain_mut(|connection| connection.read(&mut arrived));
    }
}

impl Connection {
    /// False once the connection has ended.
    fn read(&mut self, arrived: &mut impl FnMut(usize, u64)) -> bool {
        if self.rest == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let end = match self.stream.read(&mut self.buffer[self.rest..]) {
            Ok(0) => return false,
            Ok(bytes) => self.rest + bytes,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &self.buffer[start..end]) {
            // A line that is no result is one that nobody asked for.
            let (number, sum) =
                result(&self.buffer[start..start + length]).unwrap_or((usize::MAX, 0));
            arrived(number, sum);
            start += length + 1;
        }
        self.buffer.copy_within(start..end, 0);
        self.rest = end - start;
        true
    }
}

fn result(line: &[u8]) -> Option<(usize, u64)> {
    let number = memmem::rfind(line, NUMBER)? + NUMBER.len();
    let (number, rest) = digits(&line[number..]);
    let (sum, _) = digits(rest.strip_prefix(SUM)?);
    Some((usize::try_from(number).ok()?, sum))
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
    use std::io::Write;

    #[test]
    fn number_and_sum_are_found() {
        let line = br#"{"id":"7.c1.0","subject":"x","data":{"n":7,"sum":18446744073709551615}}"#;
        assert_eq!(result(line), Some((7, u64::MAX)));
        assert_eq!(result(b"{}"), None);
    }

    #[test]
    fn results_that_come_in_pieces_are_put_together() {
        let mut receiver = Receiver::listen().unwrap();
        let mut stream = TcpStream::connect(receiver.address()).unwrap();
        let mut found = Vec::new();
        let text = b"{\"data\":{\"n\":1,\"sum\":2}}\n{\"data\":{\"n\":3,\"sum\":4}}\nno result\n";
        let mut sent = 0;
        while found.len() < 3 {
            if sent < text.len() {
                stream.write_all(&text[sent..=sent]).unwrap();
                sent += 1;
            }
            receiver.accept().unwrap();
            receiver.read(|number, sum| found.push((number, sum)));
        }
        assert_eq!(found, [(1, 2), (3, 4), (usize::MAX, 0)]);
    }
}
