//! Clients that hand over requests at a rate below what the source can take: how long an ack takes when nothing queues up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;

use super::clients::{ACK_MAX_NS, ANSWER_BYTES_MAX, is_answered};

/// A thread for each client, because a runtime's timers tick in milliseconds and would have them all send at once.
///
/// Nanoseconds until the answer, from the moment a request was due or, where the client's own wake-up came late, from when it was
/// sent; those of `warm_up` are left out. A refused request is an error: at such a rate nothing is refused.
pub(crate) fn run(
    address: SocketAddr,
    bodies: &[Vec<u8>],
    (clients, requests_per_second): (usize, f64),
    (warm_up, time): (Duration, Duration),
) -> anyhow::Result<Histogram<u64>> {
    let between = Duration::from_secs_f64(clients as f64 / requests_per_second);
    let started = Instant::now();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                let first = started + between.mul_f64(client as f64 / clients as f64);
                let body = &bodies[client % bodies.len()];
                let times = (started + warm_up, started + warm_up + time);
                scope.spawn(move || post(address, body, (first, between), times))
            })
            .collect();
        let mut all = Histogram::new_with_bounds(1, ACK_MAX_NS, 3)?;
        for client in clients {
            let joined = client.join();
            all += joined.map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(all)
    })
}

fn post(
    address: SocketAddr,
    body: &[u8],
    (first, between): (Instant, Duration),
    (begin, end): (Instant, Instant),
) -> anyhow::Result<Histogram<u64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut latency = Histogram::new_with_bounds(1, ACK_MAX_NS, 3)?;
    let mut due = first;
    while due < end {
        let wait = due.saturating_duration_since(Instant::now());
        let since = if wait.is_zero() {
            // The answer before came after this one was due.
            due
        } else {
            thread::sleep(wait);
            Instant::now()
        };
        stream.write_all(body)?;
        ensure!(is_accepted(&mut stream)?, "refused below half the rate");
        if due >= begin {
            latency.saturating_record(u64::try_from(since.elapsed().as_nanos())?);
        }
        due += between;
    }
    Ok(latency)
}

fn is_accepted(stream: &mut TcpStream) -> anyhow::Result<bool> {
    let (mut answer, mut filled) = ([0; ANSWER_BYTES_MAX], 0);
    loop {
        let count = stream.read(&mut answer[filled..])?;
        ensure!(count > 0, "the connection was closed");
        filled += count;
        if let Some(is_accepted) = is_answered(&answer[..filled]).context("its answer")? {
            return Ok(is_accepted);
        }
    }
}
