//! The rules of single values: nesting, URIs, media types, base64 and the types of extensions.

use crate::envelope::EnvelopeError;

/// Refuses nesting past `depth_max`. The count of openers is vectorised and decides nearly every event.
pub(crate) fn check_depth(line: &str, depth_max: usize) -> Result<(), EnvelopeError> {
    // Counted in bytes, sixteen at a time; no chunk is so long that its count could overflow one.
    let openers = |chunk: &[u8]| -> usize {
        let count: u8 = chunk.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum();
        usize::from(count)
    };
    if line.as_bytes().chunks(128).map(openers).sum::<usize>() <= depth_max {
        return Ok(());
    }
    let bytes = line.as_bytes();
    let (mut depth, mut at) = (0usize, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at += string_bytes(&bytes[at..]),
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_max {
                    return Err(EnvelopeError::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Bytes up to and with the quote that ends a string; all of them if none does.
fn string_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1;
        if at >= bytes.len() {
            break;
        }
    }
    bytes.len()
}

/// The characters that the core specification allows in strings (3.2): no control characters, no noncharacters.
pub(crate) fn is_allowed_text(text: &str) -> bool {
    // Without an early end, so that it is done sixteen bytes at a time.
    let is_plain = |plain: bool, byte: &u8| plain & matches!(byte, b' '..=b'~');
    if text.as_bytes().iter().fold(true, is_plain) {
        return true;
    }
    let is_noncharacter =
        |c: char| matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    !text.chars().any(|c| c.is_control() || is_noncharacter(c))
}

/// RFC 3986 leaves no room for white space, control characters and a few delimiters in a URI reference.
pub(crate) fn check_uri(name: &'static str, text: &str) -> Result<(), EnvelopeError> {
    let refused = |byte: u8| byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | b'`' | 0x7f);
    if text.is_empty() || text.bytes().any(refused) {
        return Err(EnvelopeError::Attribute {
            name: name.to_owned(),
            reason: "is not a URI reference",
        });
    }
    Ok(())
}

pub(crate) fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+*'%~|".contains(&b))
    };
    essence
        .split_once('/')
        .is_some_and(|(kind, sub)| token(kind) && token(sub))
}

pub(crate) fn is_boolean_or_integer(value: &str) -> bool {
    matches!(value, "true" | "false") || value.parse::<i32>().is_ok()
}

pub(crate) fn check_base64(value: &str) -> Result<(), EnvelopeError> {
    let is_base64 = |text: &str| {
        let content = text.trim_end_matches('=');
        text.len().is_multiple_of(4)
            && text.len() - content.len() <= 2
            && content
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
    };
    let content = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    if value == "null" || content.is_some_and(is_base64) {
        return Ok(());
    }
    Err(EnvelopeError::Attribute {
        name: "data_base64".to_owned(),
        reason: "is not base64 (RFC 4648) in a JSON string",
    })
}
