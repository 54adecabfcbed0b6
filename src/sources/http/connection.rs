//! A connection that ends when it stalls between two requests.
//!
//! The server below times the head of a connection's first request, and idle connections as long as they are silent. One that begins
//! a later head and does not end it would stay for ever, and the connections at once are limited.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Told to a sender before its connection is closed within a head, as the server does for a first one.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A stream that reads as ended once it is late.
pub(super) struct Connection {
    stream: TcpStream,
    activity: Rc<Activity>,
    /// Set when it is first needed; at or before the deadline, so that it is moved once an idle period, not once a request.
    alarm: Option<Pin<Box<Sleep>>>,
    /// An answer waits for room in the socket.
    is_write_blocked: bool,
    /// It has been read as ended.
    has_ended: bool,
}

/// What the connection and its requests know of each other; all on one thread.
pub(super) struct Activity {
    head_timeout: Duration,
    idle_timeout: Duration,
    running: Cell<usize>,
    /// When the next request must be there; none before the first one is, which the server times.
    deadline: Cell<Option<Instant>>,
    is_in_head: Cell<bool>,
}

impl Activity {
    /// A request runs until the result is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> Running {
        self.running.set(self.running.get() + 1);
        self.deadline.set(None);
        Running(Rc::clone(self))
    }

    fn end(&self) {
        self.running.set(self.running.get() - 1);
        if self.running.get() == 0 {
            self.deadline.set(Some(Instant::now() + self.idle_timeout));
            self.is_in_head.set(false);
        }
    }

    /// Bytes came. The first ones after a request begin the next head, and further ones do not prolong it.
    fn received(&self) {
        if self.deadline.get().is_some() && !self.is_in_head.replace(true) {
            self.deadline.set(Some(Instant::now() + self.head_timeout));
        }
    }

    fn is_late(&self) -> bool {
        let deadline = self.deadline.get();
        deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

/// Held while a request runs, which has time limits of its own.
pub(super) struct Running(Rc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Connection {
    pub(super) fn new(stream: TcpStream, head_timeout: Duration, idle_timeout: Duration) -> Self {
        let activity = Activity {
            head_timeout,
            idle_timeout,
            running: Cell::new(0),
            deadline: Cell::new(None),
            is_in_head: Cell::new(false),
        };
        Self {
            stream,
            activity: Rc::new(activity),
            alarm: None,
            is_write_blocked: false,
            has_ended: false,
        }
    }

    /// For the connection's requests.
    pub(super) fn activity(&self) -> Rc<Activity> {
        Rc::clone(&self.activity)
    }

    /// Whether the alarm went off and meant it.
    fn is_late(&self) -> bool {
        let is_due = self.alarm.as_ref().is_some_and(|alarm| alarm.is_elapsed());
        is_due && self.activity.is_late()
    }

    /// Has the connection polled at its deadline. The server calls this last in each of its rounds, by writing.
    fn set_alarm(&mut self, context: &mut Context<'_>) {
        let Some(deadline) = self.activity.deadline.get() else {
            return;
        };
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() > deadline || alarm.is_elapsed() {
            alarm.as_mut().reset(deadline);
        }
        if alarm.as_mut().poll(context).is_ready() {
            // It may have gone off for an older deadline; the next round tells.
            context.waker().wake_by_ref();
        }
    }

    /// Ends it while no request runs: by an answer and the end of its input where the sender can still be told.
    fn end(&mut self) -> Poll<io::Result<()>> {
        if self.is_write_blocked {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !self.has_ended && self.activity.is_in_head.get() {
            // The socket's buffer is empty, so that it fits, or the sender is gone.
            drop(self.stream.try_write(TOO_SLOW));
        }
        self.has_ended = true;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_ended || self.is_late() {
            return self.end();
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.received();
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.is_write_blocked = polled.is_pending();
        if self.is_write_blocked {
            // The server goes on trying for a sender that never reads.
            if self.has_ended || self.is_late() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.set_alarm(context);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_ended {
            self.set_alarm(context);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
