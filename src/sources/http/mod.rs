//! CloudEvents over HTTP: binary, structured and batched.

mod auth;
mod body;
mod connection;
mod problem;
mod receive;
mod server;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{Listening, Source, SourceFactory, StartError};

use super::{Problem, check_max_event, listening, unless};
use crate::config::{ByteSize, DurationText};
use crate::lines::EVENT_BYTES_DEFAULT;
use auth::{Auth, Token};
use webhook::RateLimit;

/// CloudEvents that are posted over HTTP/1.1.
///
/// Answers 202 once all events of the request are accepted; a batch with one bad event is refused whole. Anything else
/// is answered with a JSON problem body (RFC 9457) that names the fault: 400 no valid event, 401 wrong token, 404 other
/// path, 405 other method, 408 too slow, 413 too large, 415 no CloudEvent or an encoding that is off, 429 above
/// `rate_limit`, 503 too much is waiting or the process stops; 429 and 503 say when to come back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpOptions {
    /// The address to listen on, as IP:port; port 0 has the system choose one.
    listen: String,
    /// The path that events are posted to (default /events).
    #[serde(default = "path")]
    path: String,
    /// Who may post events; without it, anybody.
    auth: Option<Auth>,
    /// The longest body, after decompression (default 8MiB).
    #[serde(default = "max_body")]
    max_body: ByteSize,
    /// The longest single event in the JSON format (default 2MiB).
    #[serde(default = "max_event")]
    max_event: ByteSize,
    /// Accepts bodies with `Content-Encoding: gzip` (default false).
    #[serde(default)]
    gzip: bool,
    /// How long a request's head may take, 1s or more (default 5s): from the connection's start, later ones from their first
    /// byte.
    #[serde(default = "head_timeout")]
    head_timeout: DurationText,
    /// How long a request's body may take (default 30s).
    #[serde(default = "body_timeout")]
    body_timeout: DurationText,
    /// How long a connection is kept between requests, 1s or more (default 75s).
    #[serde(default = "idle_timeout")]
    idle_timeout: DurationText,
    /// Connections at once (default 1024); further ones wait to be accepted.
    #[serde(default = "max_connections")]
    max_connections: usize,
    /// Threads that read and check requests (default 2).
    #[serde(default = "threads")]
    threads: usize,
    /// Senders that the webhook handshake (OPTIONS with `WebHook-Request-Origin`) permits, by the name they send; `*`
    /// permits all. Without it, OPTIONS is answered with 405.
    #[serde(default)]
    allowed_origins: Vec<String>,
    /// Requests a minute; what is above is answered with 429 (default: no limit).
    rate_limit: Option<u32>,
}

fn path() -> String {
    "/events".to_owned()
}

fn max_body() -> ByteSize {
    ByteSize(8 * 1024 * 1024)
}

fn max_event() -> ByteSize {
    ByteSize(EVENT_BYTES_DEFAULT)
}

fn head_timeout() -> DurationText {
    DurationText(Duration::from_secs(5))
}

fn body_timeout() -> DurationText {
    DurationText(Duration::from_secs(30))
}

fn idle_timeout() -> DurationText {
    DurationText(Duration::from_secs(75))
}

fn max_connections() -> usize {
    1_024
}

fn threads() -> usize {
    2
}

/// Makes the server.
pub(crate) struct HttpFactory {
    listening: Arc<Listening>,
    settings: Arc<Settings>,
}

/// Checked options, shared by the server's threads.
struct Settings {
    path: String,
    token: Option<Token>,
    body_bytes_max: usize,
    event_bytes_max: usize,
    is_gzip_allowed: bool,
    head_timeout: Duration,
    body_timeout: Duration,
    idle_timeout: Duration,
    connections_max: usize,
    threads: usize,
    allowed_origins: Vec<String>,
    rate_limit: Option<RateLimit>,
}

/// Checks the options.
pub(crate) fn prepare(options: HttpOptions) -> Result<HttpFactory, Vec<Problem>> {
    let mut problems = Vec::new();
    let address = listening::address(&options.listen, &mut problems);
    check(&options, &mut problems);
    let settings = Settings {
        path: options.path,
        token: options.auth.map(|auth| auth.bearer),
        body_bytes_max: options.max_body.0,
        event_bytes_max: options.max_event.0,
        is_gzip_allowed: options.gzip,
        head_timeout: options.head_timeout.0,
        body_timeout: options.body_timeout.0,
        idle_timeout: options.idle_timeout.0,
        connections_max: options.max_connections,
        threads: options.threads,
        allowed_origins: options.allowed_origins,
        rate_limit: options.rate_limit.map(RateLimit::new),
    };
    unless(
        problems,
        HttpFactory {
            listening: Arc::new(Listening::at(address)),
            settings: Arc::new(settings),
        },
    )
}

/// Reports every option whose value makes no sense.
fn check(options: &HttpOptions, problems: &mut Vec<Problem>) {
    check_max_event(options.max_event, problems);
    let mut refuse_if = |is_wrong: bool, key: &str, message: &str| {
        if is_wrong {
            problems.push((key.to_owned(), message.to_owned()));
        }
    };
    let path = &options.path;
    let has_odd_character = path.contains(|c: char| !c.is_ascii_graphic() || "?#".contains(c));
    refuse_if(
        !path.starts_with('/') || has_odd_character,
        "path",
        &format!("`{path}` is no path: it begins with `/`, and has neither spaces nor `?` or `#`"),
    );
    let is_empty = options
        .auth
        .as_ref()
        .is_some_and(|auth| auth.bearer.is_empty());
    refuse_if(is_empty, "auth.bearer", "a token may not be empty");
    refuse_if(
        options.max_body.0 == 0,
        "max_body",
        "`0B` would accept nothing",
    );
    // The server's clock for heads and idle connections ticks twice a second.
    for (key, timeout, least) in [
        ("head_timeout", options.head_timeout, Duration::from_secs(1)),
        (
            "body_timeout",
            options.body_timeout,
            Duration::from_millis(1),
        ),
        ("idle_timeout", options.idle_timeout, Duration::from_secs(1)),
    ] {
        let message = format!("`{timeout}` is too short, give {least:?} or more");
        refuse_if(timeout.0 < least, key, &message);
    }
    refuse_if(
        options.max_connections == 0,
        "max_connections",
        "`0` would accept nothing, give 1 or more",
    );
    let threads = options.threads;
    refuse_if(
        !(1..=64).contains(&threads),
        "threads",
        &format!("`{threads}` is not in 1 to 64"),
    );
    refuse_if(
        options.rate_limit == Some(0),
        "rate_limit",
        "`0` would accept nothing, give 1 or more",
    );
}

impl SourceFactory for HttpFactory {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        Ok(Box::new(server::HttpSource {
            listening: self.listening.clone(),
            settings: self.settings.clone(),
        }))
    }

    fn listening(&self) -> Option<&Listening> {
        Some(&self.listening)
    }
}

#[cfg(test)]
mod tests;
