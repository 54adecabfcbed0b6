//! What the listening sources share: addresses as options, and binding them.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use veltrix_actors::{HeldSocket, Listening, StartError};

use super::Problem;

/// Reads the option `listen`.
pub(super) fn address(listen: &str, problems: &mut Vec<Problem>) -> SocketAddr {
    listen.parse().unwrap_or_else(|_| {
        let message = format!("`{listen}` is not an address, give IP:port such as 127.0.0.1:9000");
        problems.push(("listen".to_owned(), message));
        SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

/// Takes over the socket of the former version, or binds the address, and logs the one that was bound: port 0 has the system
/// choose.
pub(super) async fn bind<'a>(
    source: &str,
    listening: &'a Listening,
) -> Result<(TcpListener, HeldSocket<'a>), StartError> {
    let address = listening.address();
    let failed = |error| StartError(format!("cannot listen on {address}: {error}"));
    let listener = match listening.inherit() {
        Some(socket) => TcpListener::from_std(socket),
        None => TcpListener::bind(address).await,
    };
    let listener = listener.map_err(failed)?;
    let held = listening.hold(&listener).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(source, %address, "listening");
    Ok((listener, held))
}
