//! Results over HTTP: as many requests at once as Veltrix's `http` sink makes, those of one subject one after the other.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::bail;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::outlet::{LONGEST_PAUSE, SHORTEST_PAUSE, connected};

const REQUESTS_AT_ONCE: usize = 8;
/// Results that may wait for one connection.
const WAITING_RESULTS: usize = 1_024;
const ANSWER_BYTES: usize = 1_024;

pub(crate) struct Poster {
    connections: Vec<mpsc::Sender<String>>,
    shared: Rc<Shared>,
}

/// What the connections' tasks and the component have in common, on one thread.
#[derive(Default)]
struct Shared {
    unfinished: Cell<usize>,
    is_finished: Notify,
}

impl Poster {
    pub(crate) async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let shared = Rc::new(Shared::default());
        let mut connections = Vec::new();
        for _ in 0..REQUESTS_AT_ONCE {
            let (connection, results) = mpsc::channel(WAITING_RESULTS);
            let stream = connected(address).await?;
            spawn_local(post_all(shared.clone(), address, stream, results));
            connections.push(connection);
        }
        Ok(Self {
            connections,
            shared,
        })
    }

    /// Hands each line to its connection, once there is room.
    pub(crate) async fn post(&self, lines: &str) {
        for line in lines.lines() {
            let mut hasher = DefaultHasher::new();
            subject(line).hash(&mut hasher);
            let connection = hasher.finish() as usize % REQUESTS_AT_ONCE;
            self.shared.unfinished.set(self.shared.unfinished.get() + 1);
            let sent = self.connections[connection].send(line.to_owned()).await;
            sent.expect("a connection's task ends with its component");
        }
    }

    /// Waits until everything is delivered.
    pub(crate) async fn finish(&self) {
        while self.shared.unfinished.get() > 0 {
            self.shared.is_finished.notified().await;
        }
    }
}

/// The subject of a result, or all of it.
fn subject(line: &str) -> &str {
    const NAME: &str = r#""subject":""#;
    let Some(start) = memmem::find(line.as_bytes(), NAME.as_bytes()) else {
        return line;
    };
    let rest = &line[start + NAME.len()..];
    rest.split_once("\",").map_or(rest, |(subject, _)| subject)
}

async fn post_all(
    shared: Rc<Shared>,
    address: SocketAddr,
    mut stream: TcpStream,
    mut results: mpsc::Receiver<String>,
) {
    while let Some(result) = results.recv().await {
        let mut pause = SHORTEST_PAUSE;
        while post(&mut stream, address, &result).await.is_err() {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        shared.unfinished.set(shared.unfinished.get() - 1);
        shared.is_finished.notify_one();
    }
}

/// One request. A broken connection is made anew; an answer other than 2xx keeps it.
async fn post(stream: &mut TcpStream, address: SocketAddr, result: &str) -> anyhow::Result<()> {
    match exchange(stream, address, result).await {
        Ok(answer) if answer.starts_with(b"HTTP/1.1 2") => Ok(()),
        Ok(_) => bail!("refused"),
        Err(error) => {
            *stream = connected(address).await?;
            Err(error)
        }
    }
}

async fn exchange(
    stream: &mut TcpStream,
    address: SocketAddr,
    result: &str,
) -> anyhow::Result<Vec<u8>> {
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/cloudevents+json\r\ncontent-length: {}\r\n\r\n{result}",
        result.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    // The sink's answers have no body.
    while !answer.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("the connection ended");
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    #[tokio::test]
    async fn what_is_refused_is_posted_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let here = LocalSet::new();
        let posting = here.run_until(async {
            let poster = Poster::connect(address).await.unwrap();
            poster.post("{\"subject\":\"a\",\"n\":1}\n").await;
            poster.finish().await;
        });
        let receiving = async {
            let mut streams = Vec::new();
            for _ in 0..REQUESTS_AT_ONCE {
                streams.push(listener.accept().await.unwrap().0);
            }
            let mut hasher = DefaultHasher::new();
            "a".hash(&mut hasher);
            let stream = &mut streams[hasher.finish() as usize % REQUESTS_AT_ONCE];
            for status in ["503 Service Unavailable", "204 No Content"] {
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                assert!(request.ends_with(b"\r\n\r\n{\"subject\":\"a\",\"n\":1}"));
                let answer = format!("HTTP/1.1 {status}\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        tokio::join!(posting, receiving);
    }
}
