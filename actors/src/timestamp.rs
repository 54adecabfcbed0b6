//! RFC 3339 timestamps, checked without a calendar library: the hot path only needs to know that a value is one.

/// Whether `text` is an RFC 3339 date-time (section 5.6), leap seconds included.
pub fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 20 {
        return false;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().try_fold(0u32, |value, byte| {
            byte.is_ascii_digit()
                .then(|| value * 10 + u32::from(byte - b'0'))
        })
    };
    let (Some(year), Some(month), Some(day)) = (number(0, 4), number(5, 7), number(8, 10)) else {
        return false;
    };
    let (Some(hour), Some(minute), Some(second)) = (number(11, 13), number(14, 16), number(17, 19))
    else {
        return false;
    };
    bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && bytes[13] == b':'
        && bytes[16] == b':'
        && (1..=12).contains(&month)
        && (1..=days(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60
        && is_offset(skip_fraction(&bytes[19..]))
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What follows the seconds' fraction; nothing if the fraction has no digit.
fn skip_fraction(rest: &[u8]) -> &[u8] {
    let Some((b'.', digits)) = rest.split_first() else {
        return rest;
    };
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count == 0 { &[] } else { &digits[count..] }
}

fn is_offset(rest: &[u8]) -> bool {
    let pair = |high: u8, low: u8, max: u8| {
        high.is_ascii_digit() && low.is_ascii_digit() && (high - b'0') * 10 + (low - b'0') <= max
    };
    match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => pair(*h1, *h2, 23) && pair(*m1, *m2, 59),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_rfc3339_from_what_only_looks_like_it() {
        for valid in [
            "2021-07-21T06:00:00Z",
            "2024-02-29t23:59:60.123456789+05:30",
            "0000-01-01T00:00:00-23:59",
        ] {
            assert!(is_rfc3339(valid), "{valid}");
        }
        for invalid in [
            "",
            "2021-07-21",
            "2021-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2021-07-21T24:00:00Z",
            "2021-07-21T06:00:00",
            "2021-07-21T06:00:00.Z",
            "2021-07-21T06:00:00+0530",
            "2021-07-21T06:00:00Zx",
            "20é1-07-21T06:00:00Z",
        ] {
            assert!(!is_rfc3339(invalid), "{invalid}");
        }
    }
}
