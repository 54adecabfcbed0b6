//! A Rust file seen line by line as code and comment, so that a rule about code is not set off by a
//! string or a comment. It is a scanner, not a parser: enough to tell the three apart.

/// One line of a file.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The line as it stands.
    pub(crate) raw: String,
    /// The line without comments; what is inside string and char literals is blanked.
    pub(crate) code: String,
    /// The line's comments only.
    pub(crate) comment: String,
    /// Whether the line is test code: of a test file, or after the file's `#[cfg(test)]` or `#![cfg(test)]`.
    pub(crate) is_test: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

/// Whether the whole file is test code.
pub(crate) fn is_test_path(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("/testing.rs")
}

/// Splits a file into lines of code and comment.
pub(crate) fn lines(path: &str, text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut state = State::Code;
    let mut is_test = is_test_path(path);
    for raw in text.lines() {
        is_test |= raw.starts_with("#[cfg(test)]") || raw.starts_with("#![cfg(test)]");
        let mut line = Line {
            raw: raw.to_string(),
            is_test,
            ..Line::default()
        };
        state = scan(raw, state, &mut line);
        lines.push(line);
    }
    lines
}

/// Scans one line from `state` and gives the state in which the next line starts.
fn scan(raw: &str, mut state: State, line: &mut Line) -> State {
    let chars: Vec<char> = raw.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let (next, width) = step(rest, state, at.checked_sub(1).map(|before| chars[before]));
        let in_comment = |state| matches!(state, State::LineComment | State::BlockComment { .. });
        for symbol in rest.iter().take(width) {
            if in_comment(state) || in_comment(next) {
                line.comment.push(*symbol);
            } else if state == State::Code || next == State::Code {
                line.code.push(*symbol);
            } else {
                line.code.push(' ');
            }
        }
        state = next;
        at += width;
    }
    if state == State::LineComment {
        State::Code
    } else {
        state
    }
}

/// The state after the next symbols, and how many symbols that takes.
fn step(rest: &[char], state: State, before: Option<char>) -> (State, usize) {
    let starts = |text: &str| {
        text.chars()
            .enumerate()
            .all(|(i, c)| rest.get(i) == Some(&c))
    };
    match state {
        State::Code if starts("//") => (State::LineComment, 2),
        State::Code if starts("/*") => (State::BlockComment { depth: 1 }, 2),
        State::Code if starts("\"") => (State::Text, 1),
        State::Code if rest[0] == '\'' => (State::Code, char_literal(rest)),
        State::Code if rest[0] == 'r' && !before.is_some_and(is_word) => raw_text(rest),
        State::Code if starts("br") && !before.is_some_and(is_word) => {
            let (next, width) = raw_text(&rest[1..]);
            (next, width + 1)
        }
        State::BlockComment { depth } if starts("/*") => {
            (State::BlockComment { depth: depth + 1 }, 2)
        }
        State::BlockComment { depth: 1 } if starts("*/") => (State::Code, 2),
        State::BlockComment { depth } if starts("*/") => {
            (State::BlockComment { depth: depth - 1 }, 2)
        }
        State::Text if rest[0] == '\\' => (State::Text, 2.min(rest.len())),
        State::Text if starts("\"") => (State::Code, 1),
        State::RawText { hashes } if starts(&format!("\"{}", "#".repeat(hashes))) => {
            (State::Code, 1 + hashes)
        }
        other => (other, 1),
    }
}

fn is_word(symbol: char) -> bool {
    symbol.is_alphanumeric() || symbol == '_'
}

/// The width of a char literal, or 1 for the quote of a lifetime.
fn char_literal(rest: &[char]) -> usize {
    match rest.get(1) {
        Some('\\') => rest
            .iter()
            .skip(3)
            .position(|c| *c == '\'')
            .map_or(1, |end| end + 4),
        Some(_) if rest.get(2) == Some(&'\'') => 3,
        _ => 1,
    }
}

/// The start of a raw string, or the plain letter `r`.
fn raw_text(rest: &[char]) -> (State, usize) {
    let hashes = rest.iter().skip(1).take_while(|c| **c == '#').count();
    match rest.get(1 + hashes) {
        Some('"') => (State::RawText { hashes }, 2 + hashes),
        _ => (State::Code, 1),
    }
}

/// Every path that a `use` imports, groups written out, with the number of the line the statement starts on.
pub(crate) fn imports(lines: &[Line]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut statement: Option<(usize, String)> = None;
    for (index, line) in lines.iter().enumerate() {
        let code = line.code.trim();
        let start = code.split_once("use ").filter(|(head, _)| {
            head.is_empty() || (head.starts_with("pub") && !head.contains(['{', '"']))
        });
        match (&mut statement, start) {
            (Some((_, text)), _) => text.push_str(code),
            (None, Some((_, rest))) => statement = Some((index + 1, rest.to_string())),
            (None, None) => {}
        }
        if let Some((number, text)) = statement.take_if(|(_, text)| text.contains(';')) {
            let tree = text.split(';').next().unwrap_or_default();
            found.extend(written_out("", tree).into_iter().map(|path| (number, path)));
        }
    }
    found
}

fn written_out(prefix: &str, tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        return vec![format!("{prefix}{tree}")];
    };
    let group = group.trim().trim_end_matches(|c: char| c.is_whitespace());
    let group = group.strip_suffix('}').unwrap_or(group);
    let prefix = format!("{prefix}{head}");
    let mut paths = Vec::new();
    let (mut depth, mut from) = (0_usize, 0);
    for (at, symbol) in group.char_indices() {
        match symbol {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                paths.extend(written_out(&prefix, &group[from..at]));
                from = at + 1;
            }
            _ => {}
        }
    }
    if !group[from..].trim().is_empty() {
        paths.extend(written_out(&prefix, &group[from..]));
    }
    paths
}
