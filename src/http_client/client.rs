//! The client: keep-alive connections, no redirects, no proxies, every wait bounded.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;

use super::answer::Answer;
use super::endpoint::Endpoint;
use super::message::Message;
use super::retry_after;

/// Requests to one receiver under way at once, at most.
pub(crate) const CONCURRENCY_MAX: usize = 256;
/// Time for a connection to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that an unused connection is kept; below the 60 to 75 seconds after which common servers close theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Sends to one endpoint, over connections of the thread that it was made on.
#[derive(Clone)]
pub(crate) struct HttpClient {
    client: reqwest::Client,
    endpoint: Endpoint,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// None came within the time allowed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection could not be made or broke.
    #[error("{0}")]
    Failed(String),
}

impl HttpClient {
    /// A client for `endpoint` that waits `timeout` for each answer, body included.
    ///
    /// # Errors
    /// TLS cannot be set up, such as for want of root certificates on this machine.
    pub(crate) fn new(endpoint: &Endpoint, timeout: Duration) -> Result<Self, String> {
        let is_tls = endpoint.url.scheme() == "https";
        let client = thread_client(is_tls).map_err(|error| {
            format!(
                "cannot set up a client for `{}`: {}",
                endpoint.shown(),
                describe(error)
            )
        })?;
        Ok(Self {
            client,
            endpoint: endpoint.clone(),
            timeout,
        })
    }

    /// Posts `message` and reads at most `body_bytes_max` of the answer's body.
    ///
    /// # Errors
    /// There is no answer; whether the receiver has the message is not known.
    pub(crate) async fn post(
        &self,
        message: Message,
        body_bytes_max: usize,
    ) -> Result<Answer, SendError> {
        let request = self
            .client
            .post(self.endpoint.url.clone())
            .headers(message.headers)
            .body(message.body);
        self.send(request, body_bytes_max).await
    }

    /// Gets the endpoint's resource, of at most `body_bytes_max`.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn get(&self, body_bytes_max: usize) -> Result<Answer, SendError> {
        let request = self.client.get(self.endpoint.url.clone());
        self.send(request, body_bytes_max).await
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        body_bytes_max: usize,
    ) -> Result<Answer, SendError> {
        let response = request
            .headers(self.endpoint.headers.clone())
            .timeout(self.timeout)
            .send()
            .await;
        let mut response = response.map_err(|error| self.error(error))?;
        let mut body = Vec::new();
        let (mut is_cut, mut body_error) = (false, None);
        while let Some(chunk) = response.chunk().await.unwrap_or_else(|error| {
            // The receiver has the message and has said what it makes of it; only some callers need the rest.
            body_error = Some(self.error(error));
            None
        }) {
            let room = body_bytes_max - body.len();
            is_cut = chunk.len() > room;
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if is_cut {
                // Reading on could take for ever; dropping the response closes the connection.
                break;
            }
        }
        let retry_after = response.headers().get(RETRY_AFTER);
        Ok(Answer {
            status: response.status(),
            retry_after: retry_after
                .and_then(|value| value.to_str().ok())
                .and_then(|value| retry_after::parse(value, SystemTime::now())),
            headers: std::mem::take(response.headers_mut()),
            body,
            mask: self.endpoint.mask.clone(),
            is_cut,
            body_error,
        })
    }

    fn error(&self, error: reqwest::Error) -> SendError {
        // A connect timeout is shorter than the answer's, and is told as what it is.
        match error.is_timeout() && !error.is_connect() {
            true => SendError::Timeout(self.timeout),
            false => SendError::Failed(format!(
                "cannot reach `{}`: {}",
                self.endpoint.shown(),
                describe(error)
            )),
        }
    }
}

thread_local! {
    /// What all lanes and sinks of a thread share, without and with TLS: root certificates are read once, and
    /// connections stay with the thread whose event loop drives them.
    static CLIENTS: RefCell<[Option<reqwest::Client>; 2]> = const { RefCell::new([None, None]) };
}

fn thread_client(is_tls: bool) -> reqwest::Result<reqwest::Client> {
    CLIENTS.with_borrow_mut(|clients| {
        let client = &mut clients[usize::from(is_tls)];
        if let Some(client) = client {
            return Ok(client.clone());
        }
        Ok(client.insert(build(is_tls)?).clone())
    })
}

fn build(is_tls: bool) -> reqwest::Result<reqwest::Client> {
    install_tls();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("veltrix/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(CONCURRENCY_MAX);
    if !is_tls {
        // Without TLS there is no need for root certificates, which a bare machine does not have.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// The innermost cause, which is what a reader can act on. The URL is left out: its query may be a secret.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// TLS is done by ring; this must be said once per process before the first client is built.
fn install_tls() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        if rustls::crypto::ring::default_provider()
            .install_default()
            .is_err()
        {
            tracing::debug!("the program has chosen another TLS provider already");
        }
    });
}
