//! `type: http`: posts each event to a component; the answer is the result.

mod results;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{
    AsyncHandler, Event, HandlerError, HandlerFactory, LaneHandler, RESULT_BYTES_MAX, Reply,
    StartError,
};

use crate::config::DurationText;
use crate::http_client::{
    Answer, CONCURRENCY_MAX, Endpoint, HeaderOptions, HttpClient, Message, SendError, Verdict,
};

/// Options of an HTTP handler.
///
/// A 2xx answer is the result: `application/cloudevents+json` one event as it is, `application/cloudevents-batch+json`
/// any number, `ce-*` headers one event in binary mode, and plain JSON the `data` of a derived result. 204 and an empty
/// body mean that there is none. 408, 425, 429, 5xx, timeouts and failed connections are tried again, 429 and 503 not
/// before their `Retry-After` (at most one hour); any other answer makes the event a dead letter.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpOptions {
    /// Where to post to: `http://` or `https://`, without a password.
    pub(crate) url: String,
    /// How the event is put into the request (default structured).
    #[serde(default)]
    pub(crate) mode: HttpMode,
    /// Headers sent with every request. Values are secrets: they are never printed.
    #[serde(default)]
    pub(crate) headers: HeaderOptions,
    /// Time for the answer, at least 1 ms.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: DurationText,
    /// The type of results made from plain JSON; left out, that of the event.
    #[serde(default)]
    pub(crate) emit: Option<String>,
    /// Requests under way at once, 1 to 256: the number of lanes, unless `lanes` says otherwise. Events of one key
    /// always follow one another.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 256))]
    pub(crate) concurrency: usize,
}

/// How the event is put into the request (CloudEvents HTTP binding).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HttpMode {
    /// As JSON.
    #[default]
    Structured,
    /// Attributes as `ce-*` headers, the data as body.
    Binary,
}

fn default_timeout() -> DurationText {
    DurationText(Duration::from_secs(5))
}

fn default_concurrency() -> usize {
    8
}

/// Makes HTTP handlers.
#[derive(Debug)]
pub(crate) struct HttpFactory {
    endpoint: Endpoint,
    mode: HttpMode,
    timeout: Duration,
    emit: Option<Arc<str>>,
    concurrency: usize,
}

/// Validates the options of the handler called `name`.
pub(crate) fn prepare(
    options: HttpOptions,
    _name: &str,
) -> Result<HttpFactory, Vec<(String, String)>> {
    let mut problems = Vec::new();
    let mut problem = |key: &str, message: String| problems.push((key.to_owned(), message));
    let HttpOptions {
        timeout,
        concurrency,
        ..
    } = options;
    if timeout.0 < Duration::from_millis(1) {
        problem("timeout", format!("`{timeout}` is less than `1ms`"));
    }
    if options.emit.as_deref() == Some("") {
        problem("emit", "a type must not be empty".to_owned());
    }
    if !(1..=CONCURRENCY_MAX).contains(&concurrency) {
        let message = format!("`{concurrency}` is not in 1 to {CONCURRENCY_MAX}");
        problem("concurrency", message);
    }
    match Endpoint::prepare(&options.url, &options.headers) {
        Ok(endpoint) if problems.is_empty() => {
            return Ok(HttpFactory {
                endpoint,
                mode: options.mode,
                timeout: timeout.0,
                emit: options.emit.map(Arc::from),
                concurrency,
            });
        }
        Ok(_) => {}
        Err(more) => problems.extend(more),
    }
    Err(problems)
}

impl HandlerFactory for HttpFactory {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        let client = HttpClient::new(&self.endpoint, self.timeout).map_err(StartError)?;
        Ok(LaneHandler::Async(Box::new(HttpHandler {
            client,
            mode: self.mode,
            emit: self.emit.clone(),
        })))
    }

    fn lanes(&self) -> Option<usize> {
        Some(self.concurrency)
    }
}

struct HttpHandler {
    client: HttpClient,
    mode: HttpMode,
    emit: Option<Arc<str>>,
}

impl AsyncHandler for HttpHandler {
    fn handle(
        &mut self,
        event: &Event<'_>,
    ) -> LocalBoxFuture<'static, Result<Reply, HandlerError>> {
        let message = match self.mode {
            HttpMode::Structured => Ok(Message::structured(event)),
            HttpMode::Binary => Message::binary(event),
        };
        let event_type = match &self.emit {
            Some(emit) => emit.to_string(),
            None => event.event_type().into_owned(),
        };
        let client = self.client.clone();
        async move {
            let message = message.map_err(HandlerError::Permanent)?;
            let answer = client.post(message, RESULT_BYTES_MAX).await;
            let answer = accepted(answer.map_err(failed)?)?;
            if let Some(error) = answer.body_error {
                return Err(failed(error));
            }
            let results = results::read(&answer, event_type);
            results
                .map(Reply::Results)
                .map_err(|reason| HandlerError::permanent(format!("the answer {reason}")))
        }
        .boxed_local()
    }
}

fn failed(error: SendError) -> HandlerError {
    match error {
        SendError::Timeout(timeout) => HandlerError::Timeout(timeout),
        SendError::Failed(reason) => HandlerError::retryable(reason),
    }
}

fn accepted(answer: Answer) -> Result<Answer, HandlerError> {
    match answer.verdict() {
        Verdict::Accepted => Ok(answer),
        Verdict::Later => Err(HandlerError::Retryable {
            reason: answer.reason(),
            after: answer.retry_after,
        }),
        Verdict::Unauthorized | Verdict::Gone | Verdict::Refused => {
            Err(HandlerError::Permanent(answer.reason()))
        }
    }
}

#[cfg(test)]
mod tests;
