//! The version of a config: a short stable hash of its merged text, so that two of them can be told apart.

use serde_json::Value;

/// The hash as 16 hexadecimal digits. Tests do not count: they change nothing that runs. Taken before `${...}` is filled in: no secret is in it, and it is the same wherever
/// the same files are used.
pub(crate) fn of(merged: &Value) -> String {
    let text = match merged {
        Value::Object(map) if map.contains_key("tests") => {
            let mut without = map.clone();
            without.shift_remove("tests");
            Value::Object(without).to_string()
        }
        whole => whole.to_string(),
    };
    format!("{:016x}", fnv_1a(text.as_bytes()))
}

/// FNV-1a of 64 bits (RFC 9923): the standard library's hashes may change with its version.
pub(crate) fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_hash_is_that_of_the_specification_and_differs_with_the_text() {
        assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
        let version = of(&json!({ "sources": {} }));
        assert_eq!(version.len(), 16);
        assert_ne!(version, of(&json!({ "sinks": {} })));
        assert_eq!(version, of(&json!({ "sources": {}, "tests": [1] })));
    }
}
