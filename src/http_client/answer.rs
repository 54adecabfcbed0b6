//! A receiver's answer, and what its status means for the delivery.

use std::time::Duration;

use super::client::SendError;
use crate::config::Mask;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};

/// Characters of an error's body that are shown.
const EXCERPT_CHARS: usize = 200;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// How long the receiver asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// The body, or its beginning if it is longer than the reader wanted.
    pub(crate) body: Vec<u8>,
    /// What of the body is not to be shown.
    pub(crate) mask: Mask,
    /// Whether the body was longer than the reader wanted.
    pub(crate) is_cut: bool,
    /// Why the rest of the body never came, though the status did.
    pub(crate) body_error: Option<SendError>,
}

/// What a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 2xx.
    Accepted,
    /// 408, 425, 429 and 5xx: the same request may work later.
    Later,
    /// 401, 403 and 407: it works once somebody has mended the credentials.
    Unauthorized,
    /// 410: the receiver has been retired, and asks not to be sent anything further (CloudEvents webhooks 1.0, 2.2).
    Gone,
    /// Everything else, redirects included: the same request would be refused again.
    Refused,
}

impl Answer {
    pub(crate) fn verdict(&self) -> Verdict {
        match self.status.as_u16() {
            200..=299 => Verdict::Accepted,
            408 | 425 | 429 | 500..=599 => Verdict::Later,
            401 | 403 | 407 => Verdict::Unauthorized,
            410 => Verdict::Gone,
            _ => Verdict::Refused,
        }
    }

    /// The `Content-Type`; empty if there is none.
    pub(crate) fn content_type(&self) -> &str {
        let value = self.headers.get(CONTENT_TYPE);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The status for a log line or a dead letter, with the beginning of what the receiver said about it.
    pub(crate) fn reason(&self) -> String {
        let mut reason = format!("answered {}", self.status);
        if self.status.is_redirection() {
            reason.push_str(" (redirects are not followed)");
        } else if self.verdict() == Verdict::Unauthorized {
            reason.push_str(" (check the credentials in `headers`)");
        }
        let text = self.mask.hide(String::from_utf8_lossy(&self.body));
        let excerpt: String = text
            .trim()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(EXCERPT_CHARS)
            .collect();
        if !excerpt.is_empty() {
            reason.push_str(": ");
            reason.push_str(&excerpt);
        }
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            retry_after: None,
            body: body.as_bytes().to_vec(),
            mask: Mask::default(),
            is_cut: false,
            body_error: None,
        }
    }

    #[test]
    fn each_status_has_its_meaning() {
        for (verdict, statuses) in [
            (Verdict::Accepted, &[200, 202, 204, 299][..]),
            (Verdict::Later, &[408, 425, 429, 500, 503, 599]),
            (Verdict::Unauthorized, &[401, 403, 407]),
            (Verdict::Gone, &[410]),
            (Verdict::Refused, &[301, 307, 400, 404, 405, 413, 415, 422]),
        ] {
            for status in statuses {
                assert_eq!(answer(*status, "").verdict(), verdict, "{status}");
            }
        }
    }

    #[test]
    fn the_reason_is_one_short_line() {
        let reason = answer(400, &format!("no\nid {}", "x".repeat(1000))).reason();
        assert!(reason.starts_with("answered 400 Bad Request: no id xxx"));
        assert!(reason.len() < 250 && !reason.contains('\n'));
        assert!(answer(302, "").reason().contains("not followed"));
        assert!(answer(401, "").reason().contains("`headers`"));
    }

    #[test]
    fn what_a_receiver_repeats_of_its_secrets_is_not_shown() {
        let refused = Answer {
            mask: Mask::of(["Bearer hunter2"]),
            ..answer(422, "who is hunter2?")
        };
        assert!(refused.reason().ends_with(": who is ***?"));
    }
}
