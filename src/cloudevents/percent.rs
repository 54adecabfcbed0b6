//! The encoding of attribute values in HTTP headers (HTTP binding 3.1.3.2).

use std::borrow::Cow;

/// Encodes what may not stand in a header value: space, `"`, `%` and all but printable ASCII.
pub(crate) fn encode(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| matches!(byte, 0x21..=0x7e) && byte != b'"' && byte != b'%';
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + text.len() / 2);
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    Cow::Owned(encoded)
}

/// Resolves a header value: first the quotes of older senders, then one round of percent-encoding. A `%` that starts no
/// encoding stays, since older senders left it alone. `None` if the result is not UTF-8.
pub(crate) fn decode_header(value: &[u8]) -> Option<String> {
    decode(&unquote(value))
}

/// One round of percent-decoding; `None` if the result is not UTF-8.
pub(crate) fn decode(text: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, behind) {
            (b'%', [high, low, behind @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = behind;
                }
                _ => decoded.push(b'%'),
            },
            _ => decoded.push(*byte),
        }
    }
    String::from_utf8(decoded).ok()
}

fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', content @ .., b'"'] = value else {
        return Cow::Borrowed(value);
    };
    let mut plain = Vec::with_capacity(content.len());
    let mut bytes = content.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next()),
            _ => plain.push(*byte),
        }
    }
    Cow::Owned(plain)
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_the_examples_of_the_binding() {
        assert_eq!(encode("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(encode("a\"b%c\u{7f}"), "a%22b%25c%7F");
        assert!(matches!(encode("/plain?x=1~"), Cow::Borrowed(_)));
    }

    #[test]
    fn decodes_one_round_after_the_quotes() {
        for (value, text) in [
            (&b"Euro%20%E2%82%AC%20%F0%9F%98%80"[..], Some("Euro € 😀")),
            (b"%41%e2%82%ac", Some("A€")),
            (b"%2541", Some("%41")),
            (br#""a \"b\" \\ %41""#, Some(r#"a "b" \ A"#)),
            (b"100% sure %", Some("100% sure %")),
            (b"%C0%A0", None),
            (b"\xff", None),
            (b"\"", Some("\"")),
        ] {
            assert_eq!(decode_header(value).as_deref(), text, "{value:?}");
        }
    }
}
