//! One client: sends its events one request after the other, and notes of each what it was told.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::fleet::{Shared, Target};
use crate::wire::{Connection, Message};
use crate::workload::Workload;

/// Pause before the same events are sent again, or a new connection is tried.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
const ONE_EVENT: &str = "application/cloudevents+json";
const MANY_EVENTS: &str = "application/cloudevents-batch+json";

/// What a client knows of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// The event's key.
    pub(crate) key: u16,
    /// How often it was sent without being refused: so often it may arrive without a duplicate of Veltrix's own.
    pub(crate) sent: u8,
    /// Which process it was sent to last.
    pub(crate) epoch: u16,
    /// Whether it was acknowledged.
    pub(crate) is_acked: bool,
    /// Given up on a connection that broke while the process lived: it may arrive after events that were sent later.
    pub(crate) is_loose: bool,
}

/// What became of a request's events, of which the first `acked` ones are acknowledged.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Acked,
    /// None was taken in; the same may be sent again.
    Refused,
    /// No answer, or not for all.
    Broken {
        acked: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    HttpOne,
    HttpMany,
    Tcp,
}

pub(crate) struct Client {
    client: u16,
    protocol: Protocol,
    /// Whether it sends again what it got no answer for, as a sender does that wants each event to arrive; the others go on.
    sends_again: bool,
    workload: Arc<Workload>,
    shared: Arc<Shared>,
    dice: Dice,
    notes: Vec<Note>,
    connection: Option<(Target, Connection)>,
}

impl Client {
    pub(crate) fn new(client: u16, workload: Arc<Workload>, shared: Arc<Shared>) -> Self {
        Self {
            client,
            protocol: match client % 4 {
                0 | 1 => Protocol::HttpOne,
                2 => Protocol::HttpMany,
                _ => Protocol::Tcp,
            },
            sends_again: client % 8 < 4,
            dice: Dice::new(u64::from(client)),
            workload,
            shared,
            notes: Vec::new(),
            connection: None,
        }
    }

    pub(crate) fn run(mut self) -> Vec<Note> {
        while !self.shared.is_over() {
            self.send_batch();
            let pause = self.dice.time_below(self.shared.pause_longest());
            if !pause.is_zero() {
                self.shared.wait(pause);
            }
            self.shared.wait_while_held();
        }
        self.notes
    }

    /// Sends the next events until they are acknowledged, or given up.
    fn send_batch(&mut self) {
        let mut first = self.notes.len();
        let end = first + self.batch_size();
        let mut broken_at: Option<u16> = None;
        while first < end {
            let Some(target) = self.connect() else {
                // What was never sent needs no note; what was, is never taken up again.
                return;
            };
            if let Some(epoch) = broken_at.take() {
                let is_alive = epoch == target.epoch;
                for note in &mut self.notes[first..] {
                    note.is_loose = is_alive;
                }
                if !self.sends_again {
                    return;
                }
            }
            self.note_sent(first, end, target.epoch);
            let sent = Instant::now();
            match self.send(&target, first, end) {
                Answer::Acked => {
                    self.note_acked(first, end, &target);
                    return;
                }
                Answer::Refused => {
                    self.shared.refused(sent.elapsed());
                    for note in &mut self.notes[first..end] {
                        note.sent -= 1;
                    }
                    self.shared.wait(AGAIN_AFTER);
                }
                Answer::Broken { acked } => {
                    self.note_acked(first, first + acked, &target);
                    first += acked;
                    broken_at = Some(target.epoch);
                    self.connection = None;
                }
            }
        }
    }

    fn batch_size(&mut self) -> usize {
        let size = match self.protocol {
            Protocol::HttpOne => 1,
            Protocol::HttpMany => 1 + self.dice.below(100),
            Protocol::Tcp => 1 + self.dice.below(64),
        };
        usize::try_from(size).expect("at most 100")
    }

    /// Connects until it has a connection; none once the run is over.
    fn connect(&mut self) -> Option<Target> {
        loop {
            let target = self.shared.target()?;
            match &self.connection {
                Some((current, _)) if current.epoch == target.epoch => return Some(*current),
                _ => {}
            }
            if !self.shared.is_closing()
                && let Ok(connection) = Connection::open(self.address(&target))
            {
                self.connection = Some((target, connection));
                return Some(target);
            }
            self.shared.wait(AGAIN_AFTER);
        }
    }

    fn address(&self, target: &Target) -> SocketAddr {
        match self.protocol {
            Protocol::HttpOne | Protocol::HttpMany => target.http,
            Protocol::Tcp => target.tcp,
        }
    }

    fn note_sent(&mut self, first: usize, end: usize, epoch: u16) {
        for number in first..end {
            match self.notes.get_mut(number) {
                Some(note) => {
                    note.sent = note.sent.saturating_add(1);
                    note.epoch = epoch;
                }
                None => self.notes.push(Note {
                    key: self.workload.key(self.client, number as u32),
                    sent: 1,
                    epoch,
                    is_acked: false,
                    is_loose: false,
                }),
            }
        }
    }

    fn note_acked(&mut self, first: usize, end: usize, target: &Target) {
        if self.shared.is_in_doubt(target.epoch) {
            return;
        }
        for note in &mut self.notes[first..end] {
            note.is_acked = true;
            note.is_loose = false;
        }
        if end > first {
            self.shared.acknowledged(target, (end - first) as u64);
        }
    }

    fn send(&mut self, target: &Target, first: usize, end: usize) -> Answer {
        let events: Vec<String> = (first..end)
            .map(|number| self.workload.event(self.client, number as u32))
            .collect();
        let Some((_, connection)) = &mut self.connection else {
            return Answer::Broken { acked: 0 };
        };
        let answer = match self.protocol {
            Protocol::HttpOne => connection
                .request("POST /events", ONE_EVENT, &events[0])
                .and_then(|answer| self.judge(&answer)),
            Protocol::HttpMany => {
                let body = format!("[{}]", events.join(","));
                connection
                    .request("POST /events", MANY_EVENTS, &body)
                    .and_then(|answer| self.judge(&answer))
            }
            Protocol::Tcp => Ok(send_lines(connection, &events, &self.shared)),
        };
        answer.unwrap_or_else(|error| {
            self.note_silence(&error, target);
            Answer::Broken { acked: 0 }
        })
    }

    /// A process that is there must answer, or close the connection.
    fn note_silence(&self, error: &io::Error, target: &Target) {
        if matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ) {
            let client = self.client;
            let epoch = target.epoch;
            self.shared.complain(format!(
                "client {client} got no answer in process {epoch}: {error}"
            ));
        }
    }

    fn judge(&self, answer: &Message) -> io::Result<Answer> {
        match answer.status()? {
            202 => Ok(Answer::Acked),
            429 | 503 => {
                if answer.header("retry-after").is_none() {
                    self.shared
                        .refused_without_time
                        .fetch_add(1, Ordering::Relaxed);
                }
                Ok(Answer::Refused)
            }
            // It came for the idle connection before this request, which is in nobody's hands.
            408 => Err(io::ErrorKind::ConnectionAborted.into()),
            status => {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                self.shared.complain(format!(
                    "client {} was answered {status}: {body}",
                    self.client
                ));
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }
}

/// Sends lines and reads answers until they account for all of them.
fn send_lines(connection: &mut Connection, events: &[String], shared: &Shared) -> Answer {
    let mut acked = 0;
    let lines = events.join("\n") + "\n";
    if connection.write(&lines).is_err() {
        // Answers that came before the end are still to be read.
        while let Ok(accepted) = connection
            .line()
            .map_err(drop)
            .and_then(|line| accepted(&line, shared))
        {
            acked += accepted;
        }
        return Answer::Broken { acked };
    }
    while acked < events.len() {
        match connection
            .line()
            .map_err(drop)
            .and_then(|line| accepted(&line, shared))
        {
            Ok(accepted) => acked += accepted,
            Err(()) => return Answer::Broken { acked },
        }
    }
    Answer::Acked
}

/// How many lines an answer says are accepted.
fn accepted(line: &str, shared: &Shared) -> Result<usize, ()> {
    let answer: serde_json::Value = serde_json::from_str(line).map_err(drop)?;
    if answer["rejected"] != 0 {
        shared.complain(format!("good lines are rejected: {}", line.trim_end()));
        return Err(());
    }
    let accepted = answer["accepted"].as_u64().ok_or(())?;
    usize::try_from(accepted).map_err(drop)
}

#[cfg(test)]
mod tests;
