//! The socket that a source listens on, which its next version takes over.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The address that a source listens on, and its socket while the source runs.
///
/// Connections that come after one version of a source has stopped and before the next one has started wait in the socket.
/// Without it they would be refused.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    // Locked, because a reload hands it on while the source runs on another thread.
    socket: Mutex<Option<TcpListener>>,
}

/// Keeps the socket in reach of a next version. A source drops it when it accepts no more connections: whoever comes then is
/// the next version's, or refused.
#[derive(Debug)]
pub struct HeldSocket<'a>(&'a Listening);

impl Listening {
    /// At an address; port 0 has the system choose one.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            socket: Mutex::new(None),
        }
    }

    /// The address of the config.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket that the former version has left, if it has.
    pub fn inherit(&self) -> Option<TcpListener> {
        self.lock().take()
    }

    /// Shares the socket on which the source listens from now on.
    ///
    /// # Errors
    /// If there are no more file descriptors.
    pub fn hold(&self, socket: impl AsFd) -> io::Result<HeldSocket<'_>> {
        let shared = socket.as_fd().try_clone_to_owned()?;
        *self.lock() = Some(shared.into());
        Ok(HeldSocket(self))
    }

    /// Leaves the socket to the next version, if that has the same address and this one runs.
    ///
    /// # Errors
    /// If there are no more file descriptors.
    pub fn hand_on(&self, next: &Self) -> io::Result<()> {
        if self.address == next.address {
            let shared = self.lock().as_ref().map(TcpListener::try_clone);
            if let Some(socket) = shared.transpose()? {
                *next.lock() = Some(socket);
            }
        }
        Ok(())
    }

    /// Has nothing wait for a version that does not come.
    pub fn let_go(&self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldSocket<'_> {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn anywhere() -> Listening {
        Listening::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    #[test]
    fn a_socket_that_is_handed_on_outlives_the_version_that_bound_it() {
        let (first, next) = (anywhere(), anywhere());
        let bound = TcpListener::bind(first.address()).unwrap();
        let address = bound.local_addr().unwrap();
        let held = first.hold(&bound).unwrap();
        first.hand_on(&next).unwrap();
        drop((held, bound));
        assert!(first.inherit().is_none());
        TcpStream::connect(address).unwrap();
        let inherited = next.inherit().unwrap();
        assert_eq!(inherited.local_addr().unwrap(), address);
        drop(inherited);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn another_address_inherits_nothing_and_nobody_waits_for_what_does_not_come() {
        let (first, next) = (anywhere(), anywhere());
        let other = Listening::at(SocketAddr::from(([127, 0, 0, 2], 0)));
        let bound = TcpListener::bind(first.address()).unwrap();
        let address = bound.local_addr().unwrap();
        let held = first.hold(&bound).unwrap();
        first.hand_on(&other).unwrap();
        first.hand_on(&next).unwrap();
        assert!(other.inherit().is_none());
        drop((held, bound));
        next.let_go();
        assert!(TcpStream::connect(address).is_err());
    }
}
