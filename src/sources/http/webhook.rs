//! The webhook specification's abuse protection: the handshake, and the rate that it grants.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use actix_web::http::header::ALLOW;
use actix_web::{HttpRequest, HttpResponse};

use super::Settings;

/// The methods of a path that takes part in the handshake.
pub(super) const ALLOWED_METHODS: &str = "POST, OPTIONS";

/// Answers the validation request (webhook 4.2). Consent is shown by headers alone; without it they are absent.
pub(super) fn handshake(request: &HttpRequest, settings: &Settings) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((ALLOW, ALLOWED_METHODS));
    let header = |name: &str| request.headers().get(name)?.to_str().ok();
    let Some(origin) = header("webhook-request-origin") else {
        return response.finish();
    };
    let allows = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(origin);
    if settings.allowed_origins.iter().any(allows) {
        let wanted = header("webhook-request-rate").and_then(|rate| rate.parse::<u32>().ok());
        let rate = match (&settings.rate_limit, wanted) {
            (Some(limit), Some(wanted)) if wanted > 0 => wanted.min(limit.per_minute).to_string(),
            (Some(limit), _) => limit.per_minute.to_string(),
            (None, _) => "*".to_owned(),
        };
        response.insert_header(("WebHook-Allowed-Origin", origin));
        response.insert_header(("WebHook-Allowed-Rate", rate));
    }
    response.finish()
}

/// Requests a minute, over all senders and threads: a bucket that a minute fills.
pub(super) struct RateLimit {
    pub(super) per_minute: u32,
    // Locked because all threads of the server draw from one bucket, for a few instructions.
    bucket: Mutex<Bucket>,
}

struct Bucket {
    requests: f64,
    filled_at: Instant,
}

impl RateLimit {
    pub(super) fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            bucket: Mutex::new(Bucket {
                requests: f64::from(per_minute),
                filled_at: Instant::now(),
            }),
        }
    }

    /// Takes one request out of the bucket, or says after how many seconds there is one.
    pub(super) fn take(&self) -> Result<(), u64> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Result<(), u64> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let per_second = f64::from(self.per_minute) / 60.0;
        let elapsed = now
            .saturating_duration_since(bucket.filled_at)
            .as_secs_f64();
        bucket.requests = (bucket.requests + elapsed * per_second).min(f64::from(self.per_minute));
        bucket.filled_at = now;
        if bucket.requests >= 1.0 {
            bucket.requests -= 1.0;
            return Ok(());
        }
        // At most a minute, so the cast is exact; at least a second, since the header knows nothing smaller.
        Err(((1.0 - bucket.requests) / per_second).ceil().max(1.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_minute_fills_the_bucket() {
        let limit = RateLimit::new(2);
        let start = Instant::now();
        assert_eq!(limit.take_at(start), Ok(()));
        assert_eq!(limit.take_at(start), Ok(()));
        let refused = limit.take_at(start).expect_err("it is empty");
        assert!((29..=30).contains(&refused), "{refused}");
        assert_eq!(limit.take_at(start + Duration::from_secs(31)), Ok(()));
        assert!(limit.take_at(start + Duration::from_secs(31)).is_err());
        let later = start + Duration::from_secs(600);
        assert!(limit.take_at(later).is_ok() && limit.take_at(later).is_ok());
        assert!(limit.take_at(later).is_err());
    }
}
