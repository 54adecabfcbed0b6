//! What a value from an event looks like in a path: it never leaves its directory, and its length is bounded.

use std::fmt::Write as _;

/// Bytes of the hash that ends a name that was cut: `~` and 16 hexadecimal digits.
const HASH_BYTES: usize = 17;

/// Appends `value` in at most `limit_bytes` (at least 32) bytes of `A-Za-z0-9._-`, `%` and `~`.
///
/// Other bytes are percent-encoded, so that different values stay different. `.` and `..` are encoded whole.
pub(super) fn push(path: &mut String, value: &str, limit_bytes: usize) {
    if value.is_empty() {
        path.push('_');
        return;
    }
    let start = path.len();
    let is_dots = value == "." || value == "..";
    let mut cut = start;
    for byte in value.bytes() {
        match byte {
            b'.' if is_dots => path.push_str("%2E"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                path.push(char::from(byte));
            }
            _ => {
                path.push('%');
                path.push(hexadecimal(byte >> 4));
                path.push(hexadecimal(byte & 15));
            }
        }
        if path.len() - start <= limit_bytes - HASH_BYTES {
            cut = path.len();
        }
        if path.len() - start > limit_bytes {
            path.truncate(cut);
            write!(path, "~{:016x}", hash(value)).expect("writing to a string does not fail");
            return;
        }
    }
}

fn hexadecimal(digit: u8) -> char {
    char::from(match digit {
        0..=9 => b'0' + digit,
        _ => b'A' + digit - 10,
    })
}

/// FNV-1a with 64 bits: the same in every version, since it names files that outlive the process.
fn hash(value: &str) -> u64 {
    value.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(value: &str) -> String {
        let mut path = String::new();
        push(&mut path, value, 64);
        path
    }

    #[test]
    fn plain_names_stay_and_the_rest_is_encoded() {
        for (value, expected) in [
            ("order.created", "order.created"),
            ("", "_"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "..."),
            ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
            ("a b\0é", "a%20b%00%C3%A9"),
            ("%2F", "%252F"),
        ] {
            assert_eq!(name(value), expected);
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let (one, other) = ("x".repeat(100) + "1", "x".repeat(100) + "2");
        assert_eq!(name(&one).len(), 64);
        assert_ne!(name(&one), name(&other));
        assert_eq!(name(&"x".repeat(64)), "x".repeat(64));
    }

    proptest! {
        #[test]
        fn never_leaves_the_directory(value in ".*", limit in 32usize..200) {
            let mut path = String::new();
            push(&mut path, &value, limit);
            prop_assert!(!path.is_empty() && path.len() <= limit);
            prop_assert!(path != "." && path != "..");
            prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-%~".contains(&b)));
        }
    }
}
