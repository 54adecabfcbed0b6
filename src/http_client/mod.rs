//! HTTP out: what sinks and handlers that call other components share.

mod answer;
mod client;
mod endpoint;
mod message;
mod retry_after;

#[cfg(test)]
#[path = "tests/receiver.rs"]
pub(crate) mod receiver;

pub(crate) use self::answer::{Answer, Verdict};
pub(crate) use self::client::{CONCURRENCY_MAX, HttpClient, SendError};
pub(crate) use self::endpoint::{Endpoint, HeaderOptions};
pub(crate) use self::message::Message;
