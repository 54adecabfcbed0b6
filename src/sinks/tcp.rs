//! `type: tcp`: one line of CloudEvents JSON per event over one connection, made anew when it breaks.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rustix::net::{RecvFlags, recv};
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

/// Options of a TCP sink.
///
/// An event counts as delivered once it is handed to the connection: TCP does not tell whether the peer has read it.
/// What the peer sends is discarded, and its closing its side means a new connection before the next event.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpOptions {
    /// Where to connect to, `host:port`.
    pub(crate) address: String,
    /// Time for writing what is sent together (at most 1024 events or 256 KiB), at least 1 ms; then the connection is
    /// given up. Connecting may take 5 s.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: DurationText,
    /// When failed deliveries are tried again; left out, after 50 ms to 5 s, without end.
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
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
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
    /// The connection while nothing is being written. A delivery takes it out, so that one that fails closes it: what
    /// the peer has of the last line is not known.
    connection: Rc<RefCell<Option<TcpStream>>>,
}

impl AsyncSink for TcpSink {
    fn deliver(
        &mut self,
        _: usize,
        events: Consignment,
    ) -> LocalBoxFuture<'static, Result<(), DeliveryError>> {
        let idle = Rc::clone(&self.connection);
        let address = Arc::clone(&self.address);
        let limit = self.timeout;
        async move {
            let open = idle.borrow_mut().take().filter(is_open);
            let mut stream = match open {
                Some(stream) => stream,
                None => connect(&address).await?,
            };
            let lines = lines(&events);
            let write = async {
                stream.write_all(lines.as_bytes()).await?;
                stream.flush().await
            };
            match timeout(limit, write).await {
                Ok(Ok(())) => {
                    *idle.borrow_mut() = Some(stream);
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

/// Whether the peer still listens, as far as this machine knows: it has neither closed its side nor reset the
/// connection. The kernel is asked, since tokio learns of it only when it next waits.
fn is_open(stream: &TcpStream) -> bool {
    let mut discarded = [0; 4096];
    for _ in 0..DISCARDED_READS_MAX {
        match recv(stream, &mut discarded[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return false,
            Ok(_) => {}
            Err(error) => return io::Error::from(error).kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
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
