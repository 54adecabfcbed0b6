//! Walks JSON text that a source has already validated: finds where tokens start and end, decodes nothing.
//!
//! It is our own loop rather than serde_json's visitors because splicing needs the byte positions of keys, separators and closing
//! braces, which serde does not give. It never recurses, and text that is not JSON after all is an error, never a panic.

use std::borrow::Cow;

/// How many words of a string are looked at before a vector search starts: keys and most values are shorter.
const WORDS_BEFORE_SEARCH: usize = 4;

/// The text is not the JSON that its source promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed JSON at byte {offset}")]
pub struct Malformed {
    /// Where in the text, in bytes.
    pub offset: usize,
}

/// A byte range of the scanned text; Copy, unlike `Range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

impl Span {
    /// No value: a JSON value is never empty, so no real span ends at 0.
    pub const ABSENT: Self = Self { start: 0, end: 0 };

    /// Whether it is that of no value.
    pub fn is_absent(self) -> bool {
        self.end == 0
    }

    /// The text at this span, or `None` if the span is absent.
    pub fn of(self, text: &str) -> Option<&str> {
        if self.is_absent() {
            None
        } else {
            text.get(self.start..self.end)
        }
    }
}

/// The position of the first byte at or after `position` that is not JSON white space.
#[inline]
pub fn skip_whitespace(bytes: &[u8], mut position: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(position) {
        position += 1;
    }
    position
}

/// The position after the value that starts at `start`.
///
/// # Errors
/// It has no end.
pub fn skip_value(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    match bytes.get(start) {
        Some(b'"') => skip_string(bytes, start),
        Some(b'{' | b'[') => skip_container(bytes, start),
        Some(_) => skip_scalar(bytes, start),
        None => Err(Malformed { offset: start }),
    }
}

/// The position after the closing quote of the string that opens at `open`.
///
/// # Errors
/// There is none.
#[inline]
pub fn skip_string(bytes: &[u8], open: usize) -> Result<usize, Malformed> {
    string_end(bytes, open).map(|(end, _)| end)
}

/// As [`skip_string`], and whether the string has escapes.
#[inline]
fn string_end(bytes: &[u8], open: usize) -> Result<(usize, bool), Malformed> {
    let mut position = open + 1;
    let mut escaped = false;
    loop {
        let found = quote_or_backslash(bytes, position).ok_or(Malformed { offset: open })?;
        if bytes[found] == b'"' {
            return Ok((found + 1, escaped));
        }
        escaped = true;
        position = found + 2;
    }
}

/// Eight bytes at a time first: most strings end before a call into memchr would pay.
#[inline]
fn quote_or_backslash(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);
    let mut position = from;
    for _ in 0..WORDS_BEFORE_SEARCH {
        let Some(word) = bytes
            .get(position..)
            .and_then(|rest| rest.first_chunk::<8>())
        else {
            break;
        };
        let word = u64::from_le_bytes(*word);
        let (quote, backslash) = (word ^ QUOTES, word ^ BACKSLASHES);
        // The lowest byte that is zero has its top bit set; bytes above it may have theirs set wrongly.
        let hits = ((quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash))
            & TOPS;
        if hits != 0 {
            return Some(position + (hits.trailing_zeros() / 8) as usize);
        }
        position += 8;
    }
    memchr::memchr2(b'"', b'\\', bytes.get(position..)?).map(|found| position + found)
}

fn skip_container(bytes: &[u8], open: usize) -> Result<usize, Malformed> {
    let mut depth = 0usize;
    let mut position = open;
    while let Some(&byte) = bytes.get(position) {
        match CLASSES[usize::from(byte)] {
            Class::Quote => {
                position = skip_string(bytes, position)?;
                continue;
            }
            Class::Open => depth += 1,
            Class::Close => {
                depth -= 1;
                if depth == 0 {
                    return Ok(position + 1);
                }
            }
            Class::Plain | Class::Separator => {}
        }
        position += 1;
    }
    Err(Malformed { offset: open })
}

fn skip_scalar(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut end = start;
    while let Some(&byte) = bytes.get(end) {
        if matches!(CLASSES[usize::from(byte)], Class::Close | Class::Separator) {
            break;
        }
        end += 1;
    }
    if end == start {
        Err(Malformed { offset: start })
    } else {
        Ok(end)
    }
}

/// What a byte outside strings does to a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Quote,
    Open,
    Close,
    Separator,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    classes[b'"' as usize] = Class::Quote;
    classes[b'{' as usize] = Class::Open;
    classes[b'[' as usize] = Class::Open;
    classes[b'}' as usize] = Class::Close;
    classes[b']' as usize] = Class::Close;
    classes[b',' as usize] = Class::Separator;
    classes[b':' as usize] = Class::Separator;
    classes[b' ' as usize] = Class::Separator;
    classes[b'\t' as usize] = Class::Separator;
    classes[b'\n' as usize] = Class::Separator;
    classes[b'\r' as usize] = Class::Separator;
    classes
};

/// One step through an object.
#[derive(Debug, Clone, Copy)]
pub enum MemberStep {
    /// A member; the caller reports its value's end through [`ObjectCursor::value_ended`].
    Member {
        /// With its quotes.
        key: Span,
        /// Whether the key has escapes.
        escaped: bool,
        /// Where the value starts.
        value_start: usize,
    },
    /// The closing brace.
    End {
        /// Its position.
        close: usize,
    },
}

/// Steps through the members of an object.
pub struct ObjectCursor<'t> {
    bytes: &'t [u8],
    position: usize,
    first: bool,
}

impl<'t> ObjectCursor<'t> {
    /// `open` is the position of the opening brace.
    pub fn new(bytes: &'t [u8], open: usize) -> Self {
        Self {
            bytes,
            position: open + 1,
            first: true,
        }
    }

    /// The next member.
    ///
    /// # Errors
    /// There is none and no closing brace.
    #[inline]
    pub fn step(&mut self) -> Result<MemberStep, Malformed> {
        let mut position = skip_whitespace(self.bytes, self.position);
        match self.bytes.get(position) {
            Some(b'}') => return Ok(MemberStep::End { close: position }),
            Some(b',') if !self.first => position = skip_whitespace(self.bytes, position + 1),
            Some(b'"') if self.first => {}
            _ => return Err(Malformed { offset: position }),
        }
        self.first = false;
        if self.bytes.get(position) != Some(&b'"') {
            return Err(Malformed { offset: position });
        }
        let (end, escaped) = string_end(self.bytes, position)?;
        let key = Span {
            start: position,
            end,
        };
        position = skip_whitespace(self.bytes, key.end);
        if self.bytes.get(position) != Some(&b':') {
            return Err(Malformed { offset: position });
        }
        Ok(MemberStep::Member {
            key,
            escaped,
            value_start: skip_whitespace(self.bytes, position + 1),
        })
    }

    /// The value before the next step ends there.
    #[inline]
    pub fn value_ended(&mut self, end: usize) {
        self.position = end;
    }
}

/// Steps through the elements of an array.
pub struct ArrayCursor<'t> {
    bytes: &'t [u8],
    position: usize,
    first: bool,
}

impl<'t> ArrayCursor<'t> {
    /// `open` is the position of the opening bracket.
    pub fn new(bytes: &'t [u8], open: usize) -> Self {
        Self {
            bytes,
            position: open + 1,
            first: true,
        }
    }

    /// The start of the next element, or `None` after the last.
    ///
    /// # Errors
    /// There is no element and no closing bracket.
    pub fn step(&mut self) -> Result<Option<usize>, Malformed> {
        let mut position = skip_whitespace(self.bytes, self.position);
        match self.bytes.get(position) {
            Some(b']') => {
                self.position = position;
                return Ok(None);
            }
            Some(b',') if !self.first => position = skip_whitespace(self.bytes, position + 1),
            Some(_) if self.first => {}
            _ => return Err(Malformed { offset: position }),
        }
        self.first = false;
        Ok(Some(position))
    }

    /// The value before the next step ends there.
    #[inline]
    pub fn value_ended(&mut self, end: usize) {
        self.position = end;
    }

    /// The position after the closing bracket, once [`Self::step`] has returned `None`.
    pub fn end(&self) -> usize {
        self.position + 1
    }
}

/// The characters of a JSON string token (`token` has its quotes), copied only if it has escapes.
///
/// # Errors
/// It is none.
pub fn unescape(token: &str) -> Result<Cow<'_, str>, Malformed> {
    let inner = token
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or(Malformed { offset: 0 })?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(token)
        .map(Cow::Owned)
        .map_err(|_| Malformed { offset: 0 })
}

/// What kind of JSON value starts with this text, for error messages.
pub fn kind_of(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a bool",
        Some(b'n') => "null",
        _ => "a number",
    }
}
