//! Clients that hand events to a source and wait for the answer: each has one request, or eight batches, under way.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, LocalSet};

pub(crate) const ACK_MAX_NS: u64 = 60_000_000_000;
pub(crate) const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Of a TCP connection.
const BATCHES_UNDER_WAY: usize = 8;
/// Until a refused request is sent again; its latency goes on.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);

/// How events are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Batches of lines, each answered by ack lines; several batches of a connection are under way.
    Tcp,
    /// One request of a connection is under way.
    Http,
}

/// Who hands over what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) door: Door,
    pub(crate) clients: usize,
    /// Events handed over at once.
    pub(crate) batch: usize,
}

/// What was acknowledged.
pub(crate) struct Acked {
    pub(crate) events: u64,
    pub(crate) time: Duration,
    /// Nanoseconds from the moment a client begins to send a batch until it has the answer.
    pub(crate) latency: Histogram<u64>,
}

/// What the clients share.
struct Shared {
    load: Load,
    bodies: Vec<Vec<u8>>,
    is_over: Cell<bool>,
    acked: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
}

impl Shared {
    fn answered(&self, events: usize, sent: Instant) {
        self.acked.set(self.acked.get() + events as u64);
        let nanoseconds = u64::try_from(sent.elapsed().as_nanos()).unwrap_or(ACK_MAX_NS);
        self.latency.borrow_mut().saturating_record(nanoseconds);
    }
}

/// Runs all clients on this thread. They begin, `warm_up` passes, `at_edge` is called, what is acknowledged is counted for
/// `time`, and `at_edge` is called again; then each waits for its last answer.
pub(crate) fn run(
    address: SocketAddr,
    load: Load,
    lines: &[String],
    (warm_up, time): (Duration, Duration),
    mut at_edge: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Acked> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let shared = Rc::new(Shared {
        load,
        bodies: bodies(load, lines),
        is_over: Cell::new(false),
        acked: Cell::new(0),
        latency: RefCell::new(Histogram::new_with_bounds(1, ACK_MAX_NS, 3)?),
    });
    LocalSet::new().block_on(&runtime, async {
        let mut clients = Vec::new();
        for client in 0..load.clients {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let shared = Rc::clone(&shared);
            clients.push(tokio::task::spawn_local(async move {
                match shared.load.door {
                    Door::Tcp => send_batches(stream, &shared, client).await,
                    Door::Http => post(stream, &shared, client).await,
                }
            }));
        }
        tokio::time::sleep(warm_up).await;
        at_edge()?;
        let (started, before) = (Instant::now(), shared.acked.get());
        shared.latency.borrow_mut().reset();
        tokio::time::sleep(time).await;
        let acked = Acked {
            events: shared.acked.get() - before,
            time: started.elapsed(),
            latency: shared.latency.borrow().clone(),
        };
        at_edge()?;
        shared.is_over.set(true);
        for client in clients {
            joined(client).await?;
        }
        Ok(acked)
    })
}

async fn joined(client: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    client.await.context("a client panicked")?
}

/// What is sent, again and again: batches of lines, or whole requests.
pub(crate) fn bodies(load: Load, lines: &[String]) -> Vec<Vec<u8>> {
    let body = |lines: &[String]| match load.door {
        Door::Tcp => lines.concat().into_bytes(),
        Door::Http => request(lines),
    };
    lines.chunks_exact(load.batch).map(body).collect()
}

fn request(lines: &[String]) -> Vec<u8> {
    let (kind, body) = match lines {
        [line] => ("application/cloudevents+json", line.clone()),
        lines => {
            let events: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
            let body = format!("[{}]", events.join(","));
            ("application/cloudevents-batch+json", body)
        }
    };
    let length = body.len();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    (head + &body).into_bytes()
}

async fn post(mut stream: TcpStream, shared: &Shared, client: usize) -> anyhow::Result<()> {
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let mut next = client;
    while !shared.is_over.get() {
        let sent = Instant::now();
        let body = &shared.bodies[next % shared.bodies.len()];
        stream.write_all(body).await?;
        while !is_accepted(&mut stream, &mut answer).await? {
            tokio::time::sleep(REFUSED_PAUSE).await;
            stream.write_all(body).await?;
        }
        shared.answered(shared.load.batch, sent);
        next += shared.load.clients;
    }
    Ok(())
}

/// Reads one answer: 202, or 503 if too much waits to be handled.
async fn is_accepted(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<bool> {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        ensure!(count > 0, "the connection was closed");
        filled += count;
        if let Some(is_accepted) = is_answered(&buffer[..filled])? {
            return Ok(is_accepted);
        }
    }
}

/// Whether the answer is 202, or 503; `None` if more of it is to come.
pub(crate) fn is_answered(bytes: &[u8]) -> anyhow::Result<Option<bool>> {
    let text = std::str::from_utf8(bytes)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let is_accepted = head.starts_with("HTTP/1.1 202");
    let is_busy = head.starts_with("HTTP/1.1 503");
    ensure!(is_accepted || is_busy, "refused: {text}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>())
    });
    let is_whole = body.len() >= length.transpose()?.unwrap_or(0);
    Ok(is_whole.then_some(is_accepted))
}

async fn send_batches(stream: TcpStream, shared: &Rc<Shared>, client: usize) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let window = Rc::new(Semaphore::new(BATCHES_UNDER_WAY));
    let (sent, mut under_way) = tokio::sync::mpsc::channel::<Instant>(BATCHES_UNDER_WAY);
    let answered = {
        let (shared, window) = (Rc::clone(shared), Rc::clone(&window));
        tokio::task::spawn_local(async move {
            let (mut acks, mut accepted) = (BufReader::new(reader).lines(), 0);
            while let Some(sent) = under_way.recv().await {
                while accepted < shared.load.batch {
                    let line = acks
                        .next_line()
                        .await?
                        .context("the connection was closed")?;
                    accepted += accepted_by(&line)?;
                }
                accepted -= shared.load.batch;
                shared.answered(shared.load.batch, sent);
                window.add_permits(1);
            }
            anyhow::Ok(())
        })
    };
    let mut next = client;
    while !shared.is_over.get() {
        window.acquire().await?.forget();
        if sent.send(Instant::now()).await.is_err() {
            break;
        }
        writer
            .write_all(&shared.bodies[next % shared.bodies.len()])
            .await?;
        next += shared.load.clients;
    }
    drop(sent);
    joined(answered).await
}

/// The count of an ack line.
fn accepted_by(line: &str) -> anyhow::Result<usize> {
    let ack: serde_json::Value = serde_json::from_str(line)?;
    if ack["rejected"] != 0 {
        bail!("refused: {line}");
    }
    let accepted = ack["accepted"].as_u64().context("an ack has a count")?;
    Ok(usize::try_from(accepted)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_with_refused_events_is_an_error() {
        let ack = |rejected| format!(r#"{{"accepted":3,"errors":[],"rejected":{rejected}}}"#);
        assert_eq!(accepted_by(&ack(0)).unwrap(), 3);
        assert!(accepted_by(&ack(1)).is_err());
    }

    #[test]
    fn several_events_make_a_batch_request() {
        let lines = ["{}\n".to_owned(), "{}\n".to_owned()];
        let batch = String::from_utf8(request(&lines)).unwrap();
        assert!(
            batch.ends_with("Content-Length: 7\r\n\r\n[{},{}]"),
            "{batch}"
        );
        let single = String::from_utf8(request(&lines[..1])).unwrap();
        assert!(
            single.ends_with("Content-Length: 3\r\n\r\n{}\n"),
            "{single}"
        );
    }
}
