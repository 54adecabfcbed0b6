//! `type: tcp`: one line of CloudEvents JSON per event over one connection, made anew when it breaks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use veltrix_actors::{
    AnySink, AsyncSink, BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Consignment, DeliveryError, RetryPolicy,
    SinkFactory, StartError,
};

use super::retry::RetryOptions;
use crate::config::DurationText;

/// Time for a connection to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Reads of what a talkative peer has sent, before each delivery.
const DISCARDED_READS_MAX: usize = 64;

/// Bytes asked for as a connection's buffer in the operating system, which takes twice as many for what it adds to them
/// (socket(7)). Left alone, Linux goes up to 4 MiB, all of which would have to be kept here as well.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Bytes sent last that are kept to be sent again: all that the operating system's buffer may have.
const RESENT_BYTES_MAX: usize = 2 * SEND_BUFFER_BYTES;

/// Options of a TCP sink.
///
/// An event counts as delivered once it is handed to the connection: TCP does not tell whether the peer has read it. When
/// the connection breaks, what may still have been in this machine's buffer (up to 512 KiB, and the rest of a delivery) is
/// sent again over the next one, so events may come twice; what only the peer's machine had is lost if nobody reads it
/// there. With the end of Veltrix or of this machine the buffer's content is gone, too. Where that matters use `http`, whose
/// answers tell. That buffer is also the most that is on its way at once: over a round trip of 10 ms, about 50 MB/s.
///
/// What the peer sends is discarded, and its closing its side means a new connection before the next event. A peer that
/// closes is taken to have read everything: what was on its way to it at that moment is lost.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpOptions {
    /// Where to connect to, `host:port`.
    pub(crate) address: String,
    /// Time for writing what is sent together (at most 1024 events or 256 KiB), at least 1 ms; then the connection is
    /// given up. Connecting may take 5 s.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: DurationText,
    /// When failed deliveries are tried again; left out, after up to 50 ms to 5 s, without end.
    #[serde(default)]
    pub(crate) retry: RetryOptions,
}

fn default_timeout() -> DurationText {
    DurationText(Duration::from_secs(10))
}

/// Makes TCP sinks.
#[derive(Debug)]
pub(crate) struct TcpFactory {
    address: Arc<str>,
    timeout: Duration,
    retry: RetryPolicy,
}

/// Validates the options of the sink called `name`.
pub(crate) fn prepare(
    options: TcpOptions,
    _name: &str,
) -> Result<TcpFactory, Vec<(String, String)>> {
    let mut problems = Vec::new();
    let retry = options.retry.prepare(&mut problems);
    let TcpOptions {
        address, timeout, ..
    } = options;
    let parts = address.rsplit_once(':');
    let is_address = parts.is_some_and(|(host, port)| {
        is_host(host) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if !is_address {
        let message = format!("`{address}` is not an address; write `host:port`");
        problems.push(("address".to_owned(), message));
    }
    if timeout.0 < Duration::from_millis(1) {
        let message = format!("`{timeout}` is less than `1ms`");
        problems.push(("timeout".to_owned(), message));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(TcpFactory {
        address: address.into(),
        timeout: timeout.0,
        retry,
    })
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let valid = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
            !host.is_empty() && host.chars().all(valid)
        }
    }
}

impl SinkFactory for TcpFactory {
    fn build(&self) -> Result<AnySink, StartError> {
        Ok(AnySink::Async(Box::new(TcpSink {
            address: Arc::clone(&self.address),
            timeout: self.timeout,
            connection: Rc::default(),
        })))
    }

    fn retry(&self) -> RetryPolicy {
        self.retry
    }
}

struct TcpSink {
    address: Arc<str>,
    timeout: Duration,
    connection: Rc<RefCell<Connection>>,
}

/// The connection, or what is left of the one before.
#[derive(Default)]
struct Connection {
    /// There while nothing is being written. A delivery takes it out, so that one that fails closes it: what the peer has
    /// of the last line is not known.
    idle: Option<TcpStream>,
    /// The lines sent last, as many as may still be in the operating system's buffer.
    sent: VecDeque<u8>,
    /// Bytes of each delivery in `sent`.
    deliveries: VecDeque<usize>,
}

impl Connection {
    /// The connection, if it is of use.
    fn take_open(&mut self) -> Option<TcpStream> {
        let stream = self.idle.take()?;
        match end_of(&stream) {
            PeerEnd::Open => Some(stream),
            PeerEnd::Closed => {
                // A peer that closes has read what it had: else its system would have reset the connection.
                *self = Self::default();
                None
            }
            PeerEnd::Broken => None,
        }
    }

    /// What a new connection begins with.
    fn lines_again(&self) -> Vec<u8> {
        let (first, second) = self.sent.as_slices();
        [first, second].concat()
    }

    fn put_back(&mut self, stream: TcpStream, lines: &str) {
        self.sent.extend(lines.as_bytes());
        self.deliveries.push_back(lines.len());
        while let Some(first) = self.deliveries.front().copied()
            && self.sent.len() - first >= RESENT_BYTES_MAX
        {
            self.sent.drain(..first);
            self.deliveries.pop_front();
        }
        self.idle = Some(stream);
    }
}

impl Drop for Connection {
    /// Closed with something unread, the connection would be reset, and what is on its way lost.
    fn drop(&mut self) {
        if let Some(stream) = self.idle.take()
            && matches!(end_of(&stream), PeerEnd::Open)
            && let Err(error) = shutdown(&stream, Shutdown::Write)
        {
            tracing::debug!(%error, "cannot close a connection");
        }
    }
}

impl AsyncSink for TcpSink {
    fn deliver(
        &mut self,
        _: usize,
        events: Consignment,
    ) -> LocalBoxFuture<'static, Result<(), DeliveryError>> {
        let connection = Rc::clone(&self.connection);
        let address = Arc::clone(&self.address);
        let limit = self.timeout;
        async move {
            let open = connection.borrow_mut().take_open();
            let mut again = Vec::new();
            let mut stream = match open {
                Some(stream) => stream,
                None => {
                    let stream = connect(&address).await?;
                    again = connection.borrow().lines_again();
                    stream
                }
            };
            if !again.is_empty() {
                tracing::info!(
                    address = &*address,
                    bytes = again.len(),
                    "a connection broke, what may not have arrived is sent again"
                );
            }
            let lines = lines(&events);
            let write = async {
                stream.write_all(&again).await?;
                stream.write_all(lines.as_bytes()).await?;
                stream.flush().await
            };
            match timeout(limit, write).await {
                Ok(Ok(())) => {
                    connection.borrow_mut().put_back(stream, &lines);
                    Ok(())
                }
                Ok(Err(error)) => Err(later(format!("cannot write to `{address}`: {error}"))),
                Err(_) => Err(later(format!("`{address}` took no data for {limit:?}"))),
            }
        }
        .boxed_local()
    }

    /// One, since lines of one connection stay in order.
    fn slots(&self) -> usize {
        1
    }

    fn events_per_delivery(&self) -> usize {
        BATCH_EVENTS_MAX
    }

    fn bytes_per_delivery(&self) -> usize {
        BATCH_BYTES_MAX
    }
}

async fn connect(address: &str) -> Result<TcpStream, DeliveryError> {
    let failed =
        |error: &dyn std::fmt::Display| later(format!("cannot connect to `{address}`: {error}"));
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = connected
        .map_err(|_| failed(&format_args!("no answer within {CONNECT_TIMEOUT:?}")))?
        .map_err(|error| failed(&error))?;
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES).map_err(|error| failed(&error))?;
    Ok(stream)
}

fn later(reason: String) -> DeliveryError {
    DeliveryError::Retryable {
        reason,
        after: None,
    }
}

fn lines(events: &Consignment) -> String {
    let bytes = events.iter().map(|event| event.line().len() + 1).sum();
    let mut lines = String::with_capacity(bytes);
    for event in events.iter() {
        lines.push_str(event.line());
        lines.push('\n');
    }
    lines
}

/// What is known of the peer's end of a connection.
enum PeerEnd {
    /// It listens, as far as this machine knows.
    Open,
    /// It has closed its side.
    Closed,
    /// It has reset the connection, or is out of reach.
    Broken,
}

/// The kernel is asked, since tokio learns of it only when it next waits.
fn end_of(stream: &TcpStream) -> PeerEnd {
    let mut discarded = [0; 4096];
    for _ in 0..DISCARDED_READS_MAX {
        match recv(stream, &mut discarded[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return PeerEnd::Closed,
            Ok(_) => {}
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => {
                return PeerEnd::Open;
            }
            Err(_) => return PeerEnd::Broken,
        }
    }
    PeerEnd::Open
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, BufReader, Lines};
    use tokio::net::TcpListener;
    use veltrix_actors::Trial;

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;

    fn sink(address: &str, rest: &str) -> Box<dyn AsyncSink> {
        let json = format!(r#"{{"address":"{address}"{rest}}}"#);
        let options: TcpOptions = serde_json::from_str(&json).unwrap();
        match prepare(options, "feed").unwrap().build().unwrap() {
            AnySink::Async(sink) => sink,
            AnySink::Sync(_) => panic!("it waits for a peer"),
        }
    }

    async fn deliver(sink: &mut dyn AsyncSink, lines: &[&str]) -> Result<(), DeliveryError> {
        let events = Trial::new("s", "h").consignment(lines).unwrap();
        sink.deliver(0, events).await
    }

    async fn accept(listener: &TcpListener) -> Lines<BufReader<TcpStream>> {
        let (stream, _) = listener.accept().await.unwrap();
        BufReader::new(stream).lines()
    }

    #[actix::test]
    async fn lines_go_over_one_connection_until_the_peer_closes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sink = sink(&listener.local_addr().unwrap().to_string(), "");
        deliver(&mut *sink, &[EVENT, EVENT]).await.unwrap();
        let mut first = accept(&listener).await;
        deliver(&mut *sink, &[EVENT]).await.unwrap();
        for _ in 0..3 {
            assert_eq!(first.next_line().await.unwrap().unwrap(), EVENT);
        }
        drop(first);
        deliver(&mut *sink, &[EVENT]).await.unwrap();
        let mut second = accept(&listener).await;
        assert_eq!(second.next_line().await.unwrap().unwrap(), EVENT);
    }

    #[actix::test]
    async fn what_a_broken_connection_may_have_lost_is_sent_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sink = sink(&listener.local_addr().unwrap().to_string(), "");
        let event = |id: usize| EVENT.replace("\"1\"", &format!("\"{id}\""));
        deliver(&mut *sink, &[&event(10), &event(11)])
            .await
            .unwrap();
        deliver(&mut *sink, &[&event(12)]).await.unwrap();
        // Closed with all of it unread, which resets the connection.
        let (unread, _) = listener.accept().await.unwrap();
        unread.readable().await.unwrap();
        drop(unread);
        deliver(&mut *sink, &[&event(13)]).await.unwrap();
        let mut next = accept(&listener).await;
        for id in 10..14 {
            assert_eq!(next.next_line().await.unwrap().unwrap(), event(id));
        }
        // What was read is not sent again.
        drop(next);
        deliver(&mut *sink, &[&event(14)]).await.unwrap();
        let mut last = accept(&listener).await;
        assert_eq!(last.next_line().await.unwrap().unwrap(), event(14));
    }

    #[actix::test]
    async fn only_as_much_is_kept_as_may_not_have_arrived() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reading = actix_rt::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::copy(&mut stream, &mut tokio::io::sink())
                .await
                .unwrap()
        });
        let mut connection = Connection::default();
        let lines = "x".repeat(1 << 20);
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..32 {
            stream.write_all(lines.as_bytes()).await.unwrap();
            connection.put_back(stream, &lines);
            stream = connection.take_open().unwrap();
        }
        let kept = connection.lines_again().len();
        assert!(kept >= lines.len() && kept <= RESENT_BYTES_MAX + lines.len());
        drop(stream);
        assert_eq!(reading.await.unwrap(), 32 << 20);
    }

    #[actix::test]
    async fn an_end_with_something_unread_resets_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sink = sink(&listener.local_addr().unwrap().to_string(), "");
        deliver(&mut *sink, &[EVENT]).await.unwrap();
        let mut peer = accept(&listener).await;
        peer.get_mut().get_mut().write_all(b"hello").await.unwrap();
        drop(sink);
        assert_eq!(peer.next_line().await.unwrap().unwrap(), EVENT);
        assert_eq!(peer.next_line().await.unwrap(), None);
    }

    #[actix::test]
    async fn what_the_peer_says_is_discarded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sink = sink(&listener.local_addr().unwrap().to_string(), "");
        deliver(&mut *sink, &[EVENT]).await.unwrap();
        let mut peer = accept(&listener).await;
        let talk = [b'x'; 10_000];
        peer.get_mut().get_mut().write_all(&talk).await.unwrap();
        deliver(&mut *sink, &[EVENT]).await.unwrap();
        for _ in 0..2 {
            assert_eq!(peer.next_line().await.unwrap().unwrap(), EVENT);
        }
    }

    #[actix::test]
    async fn nobody_there_and_nobody_reading_are_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut stuck = sink(&address, r#","timeout":"20ms""#);
        let long = EVENT.replace(
            "\"t\"",
            &format!("\"t\",\"data\":\"{}\"", "x".repeat(1 << 24)),
        );
        let error = deliver(&mut *stuck, &[&long]).await.unwrap_err();
        assert!(
            error.to_string().contains("took no data for 20ms"),
            "{error}"
        );
        drop(listener);
        let error = deliver(&mut *sink(&address, ""), &[EVENT])
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("cannot connect to `127.0.0.1:"),
            "{error}"
        );
        assert!(matches!(error, DeliveryError::Retryable { .. }));
    }

    #[test]
    fn every_problem_is_told_with_its_key() {
        for address in ["host", ":80", "host:0", "host:x", "host:70000"] {
            let json =
                format!(r#"{{"address":"{address}","timeout":"0s","retry":{{"min":"0s"}}}}"#);
            let problems = prepare(serde_json::from_str(&json).unwrap(), "feed").unwrap_err();
            let keys: Vec<&str> = problems.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(keys, ["retry.min", "address", "timeout"], "{address}");
        }
    }
}
