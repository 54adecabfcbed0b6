//! How an event looks on the connection that it leaves the source by, and how the other end says that it has it.

use std::io::Write;

use super::events::Template;

/// The protocol of a connection from the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// One event a line.
    Line,
    /// One event a line, answered as Veltrix's source `tcp` with `ack: true` does.
    AcknowledgedLine,
    /// NATS: published, not answered.
    Nats,
    /// NATS: published to a stream, which answers each.
    Jetstream,
    /// Redis: published, answered with the number of receivers.
    Redis,
    /// Redis: appended to a stream, answered with the place.
    RedisStream,
}

/// What an answer line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// So many more events are accepted.
    Accepted(usize),
    /// It wants this back.
    Reply(&'static [u8]),
    /// It takes nothing at this moment: what it has not accepted is to be sent again.
    NotNow,
    /// Nothing for us.
    Other,
}

impl Frame {
    /// What a connection begins with.
    pub(crate) fn greeting(self) -> &'static [u8] {
        match self {
            Self::Nats => b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n",
            Self::Jetstream => {
                b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB _INBOX.story 1\r\n"
            }
            _ => b"",
        }
    }

    /// Whether what is not accepted when a connection breaks is sent again.
    pub(crate) fn is_acknowledged(self) -> bool {
        matches!(
            self,
            Self::AcknowledgedLine | Self::Jetstream | Self::RedisStream
        )
    }

    /// Appends an event.
    pub(crate) fn write(
        self,
        event: &Template,
        number: u32,
        is_malformed: bool,
        out: &mut Vec<u8>,
    ) {
        let bytes = event.bytes(number, is_malformed);
        let (group, event_type) = (event.group, &event.event_type);
        let written = match self {
            Self::Line | Self::AcknowledgedLine => Ok(()),
            Self::Nats => write!(out, "PUB story.{group}.{event_type} {bytes}\r\n"),
            Self::Jetstream => write!(
                out,
                "PUB story.{group}.{event_type} _INBOX.story {bytes}\r\n"
            ),
            Self::Redis => write!(
                out,
                "*3\r\n$7\r\nPUBLISH\r\n$7\r\nstory.{group}\r\n${bytes}\r\n"
            ),
            Self::RedisStream => write!(
                out,
                "*5\r\n$4\r\nXADD\r\n$7\r\nstory.{group}\r\n$1\r\n*\r\n$1\r\ne\r\n${bytes}\r\n"
            ),
        };
        written.expect("a vector takes all");
        event.write(number, is_malformed, out);
        out.extend_from_slice(match self {
            Self::Line | Self::AcknowledgedLine => b"\n",
            _ => b"\r\n",
        });
    }

    /// What a line from the other end says.
    ///
    /// # Errors
    /// If it is an error of the other end.
    pub(crate) fn answer(self, line: &[u8]) -> anyhow::Result<Answer> {
        let refused = || anyhow::anyhow!("refused: {}", String::from_utf8_lossy(line));
        let accepted = |is: bool| {
            if is {
                Answer::Accepted(1)
            } else {
                Answer::Other
            }
        };
        Ok(match self {
            Self::Line => Answer::Other,
            Self::AcknowledgedLine => {
                let answer: serde_json::Value = serde_json::from_slice(line)?;
                let count = |name: &str| answer[name].as_u64().unwrap_or(0);
                Answer::Accepted(usize::try_from(count("accepted") + count("rejected"))?)
            }
            Self::Nats | Self::Jetstream if line.starts_with(b"-ERR") => return Err(refused()),
            Self::Nats | Self::Jetstream if line.starts_with(b"PING") => Answer::Reply(b"PONG\r\n"),
            Self::Nats => Answer::Other,
            Self::Jetstream if line.starts_with(b"{\"error\"") => return Err(refused()),
            Self::Jetstream => accepted(line.starts_with(b"{")),
            // It was started again, and reads its log first.
            Self::Redis | Self::RedisStream if line.starts_with(b"-LOADING") => Answer::NotNow,
            Self::Redis | Self::RedisStream if line.starts_with(b"-") => return Err(refused()),
            Self::Redis => accepted(line.starts_with(b":")),
            Self::RedisStream => accepted(line.starts_with(b"$")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::events::Events;

    #[test]
    fn lengths_in_a_frame_are_those_of_the_event() {
        let events = Events::load(None).unwrap();
        let event = &events.templates[0];
        let frame = |frame: Frame| {
            let mut out = Vec::new();
            frame.write(event, 12, false, &mut out);
            String::from_utf8(out).unwrap()
        };
        let line = frame(Frame::Line);
        let (event, bytes) = (line.trim_end(), line.len() - 1);
        let group = events.templates[0].group;
        let subject = format!("story.{group}.{}", events.templates[0].event_type);
        assert_eq!(
            frame(Frame::Nats),
            format!("PUB {subject} {bytes}\r\n{event}\r\n")
        );
        assert!(frame(Frame::Redis).ends_with(&format!("${bytes}\r\n{event}\r\n")));
        assert!(frame(Frame::RedisStream).contains(&format!("$7\r\nstory.{group}\r\n$1\r\n*\r\n")));
    }

    #[test]
    fn answers_are_counted() {
        let of = |frame: Frame, line: &str| frame.answer(line.as_bytes()).unwrap();
        let answer = r#"{"accepted":3,"rejected":1,"errors":[]}"#;
        assert_eq!(of(Frame::AcknowledgedLine, answer), Answer::Accepted(4));
        assert_eq!(
            of(Frame::Jetstream, r#"{"stream":"story","seq":1}"#),
            Answer::Accepted(1)
        );
        assert_eq!(
            of(Frame::Jetstream, "MSG _INBOX.story 1 30\r"),
            Answer::Other
        );
        assert_eq!(of(Frame::Nats, "PING\r"), Answer::Reply(b"PONG\r\n"));
        assert_eq!(of(Frame::RedisStream, "$15\r"), Answer::Accepted(1));
        assert_eq!(of(Frame::RedisStream, "-LOADING Redis\r"), Answer::NotNow);
        assert!(Frame::RedisStream.answer(b"-ERR full\r").is_err());
        assert!(
            Frame::Jetstream
                .answer(br#"{"error":{"code":500}}"#)
                .is_err()
        );
    }
}
