//! Refusals, answered as RFC 9457 problem details and counted by reason.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

use crate::cloudevents::decode::DecodeError;
use veltrix_actors::ID_CONFLICT;

/// Seconds after which a sender may try again when too much is waiting.
const RETRY_SECONDS: u64 = 1;

/// The reasons under which the journal counts.
const JOURNAL_FULL: &str = "journal_full";
const JOURNAL_FAILED: &str = "journal_failed";

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    /// A short stable word, for counters and for programs that read the answer.
    pub(super) reason: &'static str,
    detail: String,
    /// The event of a batch that is wrong, from 0.
    index: Option<usize>,
    header: Option<(actix_web::http::header::HeaderName, String)>,
    /// The rest of the request is not worth reading.
    closes: bool,
}

impl Problem {
    fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            detail: detail.into(),
            index: None,
            header: None,
            closes: false,
        }
    }

    fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    pub(super) fn not_found(path: &str) -> Self {
        let detail = format!("events are posted to `{path}`");
        Self::new(StatusCode::NOT_FOUND, "not_found", detail).closing()
    }

    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        Self {
            header: Some((ALLOW, allowed.to_owned())),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                format!("the methods are {allowed}"),
            )
        }
        .closing()
    }

    pub(super) fn unauthorized() -> Self {
        let detail = "the request does not show the right bearer token";
        Self {
            header: Some((WWW_AUTHENTICATE, "Bearer".to_owned())),
            ..Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        }
        .closing()
    }

    pub(super) fn too_slow(limit: std::time::Duration) -> Self {
        let detail = format!("the body did not arrive within {limit:?}");
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).closing()
    }

    pub(super) fn broken_body(error: &impl std::fmt::Display) -> Self {
        let detail = format!("the body cannot be read: {error}");
        Self::new(StatusCode::BAD_REQUEST, "body", detail).closing()
    }

    pub(super) fn too_large(limit_bytes: usize) -> Self {
        let detail = format!("the body is longer than {limit_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "oversize", detail).closing()
    }

    pub(super) fn encoding(is_gzip_allowed: bool) -> Self {
        let accepted = if is_gzip_allowed { "gzip" } else { "identity" };
        let detail = format!("the content encoding is not accepted, use {accepted}");
        Self {
            header: Some((ACCEPT_ENCODING, accepted.to_owned())),
            ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", detail)
        }
        .closing()
    }

    pub(super) fn no_cloud_event(detail: &'static str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported", detail)
    }

    pub(super) fn rate_limited(retry_seconds: u64, per_minute: u32) -> Self {
        let detail = format!("more than {per_minute} requests a minute");
        Self {
            header: Some((RETRY_AFTER, retry_seconds.to_string())),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit", detail)
        }
    }

    pub(super) fn busy() -> Self {
        Self {
            header: Some((RETRY_AFTER, RETRY_SECONDS.to_string())),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too much is waiting to be handled, nothing was accepted",
            )
        }
    }

    pub(super) fn stopping() -> Self {
        Self {
            header: Some((RETRY_AFTER, RETRY_SECONDS.to_string())),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the process is stopping, nothing was accepted",
            )
        }
        .closing()
    }

    /// So many of a request's events contradict others.
    pub(super) fn conflict(conflicts: usize, events: usize) -> Self {
        let detail = match events {
            1 => "another event with this source and id came before, with another type, subject or data".to_owned(),
            _ => format!(
                "{conflicts} of {events} events have the source and id of others that came before, with another type, subject or \
                 data; the others are accepted"
            ),
        };
        Self::new(StatusCode::CONFLICT, ID_CONFLICT, detail)
    }

    pub(super) fn journal_full() -> Self {
        Self {
            header: Some((RETRY_AFTER, RETRY_SECONDS.to_string())),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                JOURNAL_FULL,
                "the journal has no room, not all of the request was accepted",
            )
        }
    }

    pub(super) fn journal_failed() -> Self {
        Self {
            header: Some((RETRY_AFTER, RETRY_SECONDS.to_string())),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                JOURNAL_FAILED,
                "the journal cannot store events any more, not all of the request was accepted",
            )
        }
        .closing()
    }

    /// Whether nobody else has counted what is refused: the journal counts what does not get into it.
    pub(super) fn is_counted_here(&self) -> bool {
        ![JOURNAL_FULL, JOURNAL_FAILED, ID_CONFLICT].contains(&self.reason)
    }

    /// The answer.
    pub(super) fn respond(&self) -> HttpResponse {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "reason": self.reason,
        });
        if let Some(index) = self.index {
            body["index"] = index.into();
        }
        let mut response = HttpResponse::build(self.status);
        response.content_type("application/problem+json");
        if let Some((name, value)) = &self.header {
            response.insert_header((name.clone(), value.as_str()));
        }
        if self.closes {
            response.force_close();
        }
        response.body(body.to_string())
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        let status = match error.reason {
            "oversize" => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        let detail = match error.index {
            Some(index) => format!("event {index} of the batch: {}", error.detail),
            None => error.detail,
        };
        Self {
            index: error.index,
            ..Self::new(status, error.reason, detail)
        }
    }
}
