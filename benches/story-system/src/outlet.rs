//! A component's connection to its sink: lines are gathered and go out with one write, or as requests.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::poster::Poster;

/// Pauses between attempts, as Veltrix's sinks make them: they double up to the longest.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct Outlet {
    text: String,
    way: Way,
}

enum Way {
    /// One line after the other over one connection.
    Lines {
        address: SocketAddr,
        stream: TcpStream,
    },
    Requests(Poster),
}

impl Outlet {
    pub(crate) async fn connect(address: SocketAddr, is_http: bool) -> std::io::Result<Self> {
        Ok(Self {
            text: String::new(),
            way: match is_http {
                true => Way::Requests(Poster::connect(address).await?),
                false => Way::Lines {
                    address,
                    stream: connected(address).await?,
                },
            },
        })
    }

    /// Where lines are gathered.
    pub(crate) fn text(&mut self) -> &mut String {
        &mut self.text
    }

    /// Sends what was gathered, all of it again over a new connection if one breaks.
    pub(crate) async fn flush(&mut self) {
        match &mut self.way {
            Way::Requests(poster) => poster.post(&self.text).await,
            Way::Lines { address, stream } => {
                let mut pause = SHORTEST_PAUSE;
                while stream.write_all(self.text.as_bytes()).await.is_err() {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    if let Ok(made_anew) = connected(*address).await {
                        *stream = made_anew;
                    }
                }
            }
        }
        self.text.clear();
    }

    /// Waits until what was sent is answered, where it is.
    pub(crate) async fn finish(&self) {
        if let Way::Requests(poster) = &self.way {
            poster.finish().await;
        }
    }
}

pub(crate) async fn connected(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
