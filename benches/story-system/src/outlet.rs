//! A component's connection to its sink: lines are gathered and go out with one write.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Pauses between attempts, as Veltrix's sinks make them: they double up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(crate) struct Outlet {
    address: SocketAddr,
    stream: TcpStream,
    text: String,
}

impl Outlet {
    pub(crate) async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self {
            address,
            stream: connected(address).await?,
            text: String::new(),
        })
    }

    /// Where lines are gathered.
    pub(crate) fn text(&mut self) -> &mut String {
        &mut self.text
    }

    /// Sends what was gathered, all of it again over a new connection if one breaks.
    pub(crate) async fn flush(&mut self) {
        let mut pause = SHORTEST_PAUSE;
        while self.stream.write_all(self.text.as_bytes()).await.is_err() {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if let Ok(stream) = connected(self.address).await {
                self.stream = stream;
            }
        }
        self.text.clear();
    }
}

async fn connected(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
