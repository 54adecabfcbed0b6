//! `type: http`: posts events to a receiver, one or many a request.

use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{
    AnySink, AsyncSink, Consignment, DeliveryError, RetryPolicy, SinkFactory, StartError,
};

use super::retry::RetryOptions;
use crate::config::{ByteSize, DurationText};
use crate::http_client::{
    Answer, CONCURRENCY_MAX, Endpoint, HeaderOptions, HttpClient, Message, SendError, Verdict,
};

/// Bytes read of an answer's body: enough for its reason, and for most bodies to end, so that the connection is kept.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long a receiver that has been retired is left alone before it is asked once more.
const GONE_WAIT: Duration = Duration::from_secs(300);

/// Options of an HTTP sink.
///
/// 2xx is delivered. 408, 425, 429, 5xx and failed connections are tried again, not before their `Retry-After` (at most
/// one hour) if there is one. 401, 403 and 407 pause the whole sink until the credentials are mended: its events wait, one
/// of them tries after 1 s to 30 s, nothing is given up meanwhile, and `/readyz` and `/api/tree` show it. So does 410, with a
/// try every 5 min. Other answers make the event a dead letter; redirects are not followed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpOptions {
    /// Where to post to: `http://` or `https://`, without a password.
    pub(crate) url: String,
    /// How events are put into requests (default structured).
    #[serde(default)]
    pub(crate) mode: HttpMode,
    /// How many events a request of mode `batched` has.
    #[serde(default)]
    pub(crate) batch: Option<BatchOptions>,
    /// Headers sent with every request. Values are secrets: they are never printed.
    #[serde(default)]
    pub(crate) headers: HeaderOptions,
    /// Requests under way at once, 1 to 256. Events of one key (subject, else source) always follow one another.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 256))]
    pub(crate) concurrency: usize,
    /// Time for one request and its answer, at least 1 ms.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: DurationText,
    /// When failed requests are tried again; left out, after up to 50 ms to 5 s, without end.
    #[serde(default)]
    pub(crate) retry: RetryOptions,
}

/// How events are put into requests (CloudEvents HTTP binding).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HttpMode {
    /// One event as JSON.
    #[default]
    Structured,
    /// One event: attributes as `ce-*` headers, its data as body.
    Binary,
    /// Several events as a JSON array.
    Batched,
}

/// Limits of a batched request. What is waiting is sent: nothing waits for a batch to fill.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BatchOptions {
    /// Events in a request at most, 1 to 1024.
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) events: usize,
    /// Bytes of the events in a request at most, unless a single event has more; at least 1 KiB.
    pub(crate) bytes: ByteSize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            events: 100,
            bytes: ByteSize(1024 * 1024),
        }
    }
}

fn default_concurrency() -> usize {
    8
}

fn default_timeout() -> DurationText {
    DurationText(Duration::from_secs(10))
}

/// Makes HTTP sinks.
#[derive(Debug)]
pub(crate) struct HttpFactory {
    endpoint: Endpoint,
    mode: HttpMode,
    batch: BatchOptions,
    concurrency: usize,
    timeout: Duration,
    retry: RetryPolicy,
}

/// Validates the options of the sink called `name`.
pub(crate) fn prepare(
    options: HttpOptions,
    _name: &str,
) -> Result<HttpFactory, Vec<(String, String)>> {
    let mut problems = Vec::new();
    let retry = options.retry.prepare(&mut problems);
    let mut problem = |key: &str, message: String| problems.push((key.to_owned(), message));
    let HttpOptions {
        mode,
        concurrency,
        timeout,
        ..
    } = options;
    if !(1..=CONCURRENCY_MAX).contains(&concurrency) {
        let message = format!("`{concurrency}` is not in 1 to {CONCURRENCY_MAX}");
        problem("concurrency", message);
    }
    if timeout.0 < Duration::from_millis(1) {
        problem("timeout", format!("`{timeout}` is less than `1ms`"));
    }
    if options.batch.is_some() && mode != HttpMode::Batched {
        problem("batch", "only `mode: batched` has batches".to_owned());
    }
    let batch = options.batch.unwrap_or_default();
    if !(1..=1024).contains(&batch.events) {
        let message = format!("`{}` is not in 1 to 1024", batch.events);
        problem("batch.events", message);
    }
    if batch.bytes.0 < 1024 {
        problem(
            "batch.bytes",
            format!("`{}` is less than `1KiB`", batch.bytes),
        );
    }
    match Endpoint::prepare(&options.url, &options.headers) {
        Ok(endpoint) if problems.is_empty() => {
            return Ok(HttpFactory {
                endpoint,
                mode,
                batch,
                concurrency,
                timeout: timeout.0,
                retry,
            });
        }
        Ok(_) => {}
        Err(more) => problems.extend(more),
    }
    Err(problems)
}

impl SinkFactory for HttpFactory {
    fn build(&self) -> Result<AnySink, StartError> {
        let client = HttpClient::new(&self.endpoint, self.timeout).map_err(StartError)?;
        Ok(AnySink::Async(Box::new(HttpSink {
            client,
            mode: self.mode,
            batch: self.batch,
            slots: self.concurrency,
        })))
    }

    fn retry(&self) -> RetryPolicy {
        self.retry
    }
}

struct HttpSink {
    client: HttpClient,
    mode: HttpMode,
    batch: BatchOptions,
    slots: usize,
}

impl AsyncSink for HttpSink {
    fn deliver(
        &mut self,
        _: usize,
        events: Consignment,
    ) -> LocalBoxFuture<'static, Result<(), DeliveryError>> {
        let client = self.client.clone();
        let mode = self.mode;
        async move {
            match mode {
                HttpMode::Batched => post(&client, Message::batch(events.iter())).await,
                // One event a delivery: see `events_per_delivery`.
                HttpMode::Structured => {
                    for event in events.iter() {
                        post(&client, Message::structured(&event)).await?;
                    }
                    Ok(())
                }
                HttpMode::Binary => {
                    for event in events.iter() {
                        let message = Message::binary(&event).map_err(DeliveryError::Permanent)?;
                        post(&client, message).await?;
                    }
                    Ok(())
                }
            }
        }
        .boxed_local()
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn events_per_delivery(&self) -> usize {
        match self.mode {
            HttpMode::Batched => self.batch.events,
            HttpMode::Structured | HttpMode::Binary => 1,
        }
    }

    fn bytes_per_delivery(&self) -> usize {
        self.batch.bytes.0
    }
}

async fn post(client: &HttpClient, message: Message) -> Result<(), DeliveryError> {
    match client.post(message, ANSWER_BYTES_MAX).await {
        Ok(answer) => judge(&answer),
        Err(error @ (SendError::Timeout(_) | SendError::Failed(_))) => {
            Err(DeliveryError::Retryable {
                reason: error.to_string(),
                after: None,
            })
        }
    }
}

fn judge(answer: &Answer) -> Result<(), DeliveryError> {
    match answer.verdict() {
        Verdict::Accepted => Ok(()),
        Verdict::Later => Err(DeliveryError::Retryable {
            reason: answer.reason(),
            after: answer.retry_after,
        }),
        Verdict::Unauthorized => Err(DeliveryError::Blocked {
            reason: answer.reason(),
            after: answer.retry_after,
        }),
        Verdict::Gone => Err(DeliveryError::Blocked {
            reason: answer.reason(),
            after: answer.retry_after.max(Some(GONE_WAIT)),
        }),
        Verdict::Refused => Err(DeliveryError::Permanent(answer.reason())),
    }
}

#[cfg(test)]
mod tests;
