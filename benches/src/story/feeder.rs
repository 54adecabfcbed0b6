//! One connection from the source: events are assigned to it in order, leave it in order, and are kept while it is broken.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use super::events::Events;
use super::frame::{Answer, Frame};
use super::schedule::Schedule;

/// Bytes that are made ready ahead of the connection.
const READY_BYTES: usize = 256 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// A connection, or what will go over the next one.
pub(crate) struct Feeder {
    frame: Frame,
    stream: Option<TcpStream>,
    /// The numbers of all events for this connection.
    assigned: Vec<u32>,
    /// Of these: how many are in the buffer or gone, how many are gone, and how many the other end has said it has.
    composed: usize,
    written: usize,
    accepted: usize,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are gone.
    start: usize,
    /// Where frames end, in bytes since the connection began; and how many of those are gone.
    frame_ends: VecDeque<u64>,
    bytes_composed: u64,
    bytes_written: u64,
    answers: Vec<u8>,
}

impl Feeder {
    pub(crate) fn new(frame: Frame) -> Self {
        Self {
            frame,
            stream: None,
            assigned: Vec::new(),
            composed: 0,
            written: 0,
            accepted: 0,
            buffer: Vec::new(),
            start: 0,
            frame_ends: VecDeque::new(),
            bytes_composed: 0,
            bytes_written: 0,
            answers: Vec::new(),
        }
    }

    /// Goes on over a new connection: with what is not accepted, if the other end says what it has, else with what is not
    /// written.
    pub(crate) fn attach(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.composed = match self.frame.is_acknowledged() {
            true => self.accepted,
            false => self.written,
        };
        self.written = self.composed;
        self.buffer.clear();
        self.buffer.extend_from_slice(self.frame.greeting());
        self.start = 0;
        self.frame_ends.clear();
        self.bytes_composed = self.buffer.len() as u64;
        self.bytes_written = 0;
        self.answers.clear();
        self.stream = Some(stream);
        Ok(())
    }

    pub(crate) fn stream(&self) -> Option<&TcpStream> {
        self.stream.as_ref()
    }

    pub(crate) fn assign(&mut self, number: u32) {
        self.assigned.push(number);
    }

    /// Whether something waits for the connection to take more.
    pub(crate) fn is_waiting(&self) -> bool {
        self.start < self.buffer.len() || self.composed < self.assigned.len()
    }

    /// Writes what the connection takes. One that breaks is let go of.
    pub(crate) fn flush(&mut self, events: &Events, schedule: &Schedule) {
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        while self.is_waiting() {
            self.compose(events, schedule);
            match stream.write(&self.buffer[self.start..]) {
                Ok(bytes) => self.wrote(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        self.stream = Some(stream);
    }

    fn compose(&mut self, events: &Events, schedule: &Schedule) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        while self.buffer.len() < READY_BYTES
            && let Some(&number) = self.assigned.get(self.composed)
        {
            let (index, before) = (number as usize, self.buffer.len());
            let event = &events.templates[usize::from(schedule.lines[index])];
            let is_malformed = schedule.is_malformed[index];
            self.frame
                .write(event, number, is_malformed, &mut self.buffer);
            self.bytes_composed += (self.buffer.len() - before) as u64;
            self.frame_ends.push_back(self.bytes_composed);
            self.composed += 1;
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.start += bytes;
        self.bytes_written += bytes as u64;
        while self
            .frame_ends
            .front()
            .is_some_and(|end| *end <= self.bytes_written)
        {
            self.frame_ends.pop_front();
            self.written += 1;
        }
    }

    /// Reads what the other end says. A connection that has ended is let go of.
    ///
    /// # Errors
    /// If the other end refuses an event.
    pub(crate) fn read_answers(&mut self) -> anyhow::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let before = self.answers.len();
        self.answers.resize(before + READ_BYTES, 0);
        let read = stream.read(&mut self.answers[before..]);
        self.answers
            .truncate(before + read.as_ref().map_or(0, |bytes| *bytes));
        match read {
            Ok(0) => self.stream = None,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.stream = None,
            Ok(_) => self.take_answers()?,
        }
        Ok(())
    }

    fn take_answers(&mut self) -> anyhow::Result<()> {
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &self.answers[start..]) {
            match self.frame.answer(&self.answers[start..start + length])? {
                Answer::Accepted(events) => self.accepted += events,
                Answer::Reply(reply) => {
                    self.buffer.extend_from_slice(reply);
                    self.bytes_composed += reply.len() as u64;
                }
                Answer::NotNow => {
                    self.stream = None;
                    return Ok(());
                }
                Answer::Other => {}
            }
            start += length + 1;
        }
        self.answers.drain(..start);
        Ok(())
    }
}
