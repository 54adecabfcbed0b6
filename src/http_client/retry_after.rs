//! `Retry-After` (RFC 9110, 10.2.3): seconds or a date.

use std::time::{Duration, SystemTime};

/// A receiver that asks for more is asked again after this time all the same.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The time to wait from `now` on; `None` if the value is neither of both.
pub(super) fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let wait = if is_number {
        // More digits than fit are more seconds than the limit.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds_and_dates_up_to_the_limit() {
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 02:00:00 GMT").unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(3600)),
            ("Mon, 23 Nov 2026 02:00:30 GMT", Some(30)),
            ("Mon, 23 Nov 2026 01:00:00 GMT", Some(0)),
            ("Tue, 24 Nov 2026 01:00:00 GMT", Some(3600)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            let wait = parse(value, now);
            assert_eq!(wait, seconds.map(Duration::from_secs), "{value}");
        }
    }
}
