//! The line of a config file that a problem is about, with the piece at fault underlined.

use std::fmt;

use unicode_width::UnicodeWidthChar;

use super::{
    origins::{SourceFile, Span},
    secret_places::is_reference,
};

/// Characters of a source line shown at most.
const MAX_SHOWN_LINE: usize = 160;

/// What is shown in the place of a secret.
const HIDDEN: &str = "***";

/// What is shown at one place of the line, and how many columns of a terminal that takes.
struct Cell {
    text: String,
    columns: usize,
    is_marked: bool,
}

/// Writes the line and underlines the span; nothing for a span that points at no text.
pub(crate) fn write(
    formatter: &mut fmt::Formatter<'_>,
    file: &SourceFile,
    span: Span,
) -> fmt::Result {
    let Some(line) = file.text.lines().nth(span.line - 1) else {
        return Ok(());
    };
    if span.length == 0 {
        return Ok(());
    }
    let cells = cells(line, &hidden(line, file, span.line), span);
    // a long line is cut to a window in which the span stands
    let first = cells.iter().position(|cell| cell.is_marked);
    let first = first.unwrap_or(cells.len());
    let marked = cells.iter().filter(|cell| cell.is_marked).count().max(1);
    let skipped = (first + marked.min(MAX_SHOWN_LINE / 2)).saturating_sub(MAX_SHOWN_LINE);
    let window = || cells.iter().skip(skipped).take(MAX_SHOWN_LINE);
    let text: String = window().map(|cell| cell.text.as_str()).collect();
    let columns = |is_marked: bool| {
        let wanted = window().filter(|cell| cell.is_marked == is_marked);
        wanted.map(|cell| cell.columns).sum::<usize>()
    };
    let before: usize = window()
        .take(first - skipped)
        .map(|cell| cell.columns)
        .sum();
    // a span behind the line's end points at what is missing there
    let beyond = match columns(true) {
        0 => (span.column - 1).saturating_sub(line.chars().count()),
        _ => 0,
    };
    let number = span.line.to_string();
    let margin = " ".repeat(number.len());
    writeln!(formatter, "  {number} | {}", text.trim_end())?;
    writeln!(
        formatter,
        "  {margin} | {}{}",
        " ".repeat(before + beyond),
        "^".repeat(columns(true).max(1))
    )
}

fn cells(line: &str, hidden: &[(usize, usize)], span: Span) -> Vec<Cell> {
    let marked = span.column - 1..span.column - 1 + span.length;
    let mut cells = Vec::new();
    let mut secret_end = 0;
    for (at, letter) in line.chars().enumerate() {
        if at < secret_end {
            continue;
        }
        if let Some((_, end)) = hidden
            .iter()
            .find(|(start, end)| (*start..*end).contains(&at))
        {
            secret_end = *end;
            cells.push(Cell {
                text: HIDDEN.to_owned(),
                columns: HIDDEN.len(),
                is_marked: at < marked.end && secret_end > marked.start,
            });
            continue;
        }
        // what would move the cursor or turn the text round is shown as a space
        let shown = if steers(letter) { ' ' } else { letter };
        cells.push(Cell {
            text: shown.to_string(),
            columns: shown.width().unwrap_or(0),
            is_marked: marked.contains(&at),
        });
    }
    cells
}

/// Control characters, and those that change the direction of the text.
fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The pieces of a line that are secrets, in characters from its start.
fn hidden(line: &str, file: &SourceFile, number: usize) -> Vec<(usize, usize)> {
    let characters = |byte: usize| line[..byte].chars().count();
    let mut found = credentials(line);
    if let Some(secrets) = file.secrets.get() {
        let on_line = secrets.spans.iter().filter(|span| span.line == number);
        let places = on_line.map(|span| (span.column - 1, span.column - 1 + span.length));
        found.extend(places.filter(|(start, end)| {
            let written: String = line.chars().skip(*start).take(end - start).collect();
            // where it comes from may be shown
            !is_reference(written.trim_matches(['"', '\'']))
        }));
        for text in &secrets.texts {
            let places = line.match_indices(text.as_str());
            found.extend(places.map(|(at, text)| (characters(at), characters(at + text.len()))));
        }
    }
    found
}

/// The user and the query of URLs, in characters.
fn credentials(line: &str) -> Vec<(usize, usize)> {
    let characters = |byte: usize| line[..byte].chars().count();
    let mut found = Vec::new();
    for (at, scheme) in line.match_indices("://") {
        let start = at + scheme.len();
        let rest = &line[start..];
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
        let quote = line[..at].trim_end_matches(is_scheme).chars().next_back();
        let end = match quote.filter(|quote| "\"'`".contains(*quote)) {
            // up to there it is the URL, even where it has what no URL has
            Some(quote) => rest.find(quote),
            None => rest.find(|c: char| c.is_whitespace() || "\"'`,".contains(c)),
        };
        let url = &rest[..end.unwrap_or(rest.len())];
        let authority = url.find(['/', '?', '#']).unwrap_or(url.len());
        if let Some(user) = url[..authority].rfind('@') {
            found.push((characters(start), characters(start + user)));
        }
        if let Some(query) = url.find('?').filter(|query| query + 1 < url.len()) {
            found.push((characters(start + query + 1), characters(start + url.len())));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::origins::FileSecrets;

    struct Shown<'a>(&'a SourceFile, Span);

    impl fmt::Display for Shown<'_> {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write(formatter, self.0, self.1)
        }
    }

    fn file(text: &str) -> SourceFile {
        SourceFile::new("v.yaml".to_owned(), text.to_owned(), 0)
    }

    fn shown(text: &str, column: usize, length: usize) -> String {
        let span = Span {
            line: 1,
            column,
            length,
        };
        Shown(&file(text), span).to_string()
    }

    #[test]
    fn the_mark_stands_below_the_text_whatever_stands_before_it() {
        assert_eq!(
            shown("\t\tab: cd", 7, 2),
            "  1 |   ab: cd\n    |       ^^\n"
        );
        assert_eq!(shown("名前: cd", 5, 2), "  1 | 名前: cd\n    |       ^^\n");
        assert_eq!(shown("x: 名前", 4, 2), "  1 | x: 名前\n    |    ^^^^\n");
        assert_eq!(
            shown("e\u{301}: cd", 5, 2),
            "  1 | e\u{301}: cd\n    |    ^^\n"
        );
        assert_eq!(shown("a:", 4, 1), "  1 | a:\n    |    ^\n");
        assert_eq!(shown("\u{202e}a: b", 5, 1), "  1 |  a: b\n    |     ^\n");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let line = format!("{}wrong{}", "x".repeat(500), "y".repeat(500));
        let text = shown(&line, 501, 5);
        assert!(text.lines().all(|line| line.len() < 170), "{text}");
        assert!(text.contains("xwrong"), "{text}");
        assert!(text.trim_end().ends_with("^^^^^"), "{text}");
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(
            shown("url: http://me:word@h/p?key=word, x: 1", 35, 1),
            "  1 | url: http://***@h/p?***, x: 1\n    |                          ^\n"
        );
        assert_eq!(
            shown("url: \"http://h/ p?key=word\", x: 1", 6, 3),
            "  1 | url: \"http://h/ p?***\", x: 1\n    |      ^^^\n"
        );
        let file = file("a: { b: word, c: 1 }\nmore word2");
        let spans = vec![Span {
            line: 1,
            column: 9,
            length: 4,
        }];
        let texts = vec!["word2".to_owned()];
        file.secrets.set(FileSecrets { spans, texts }).unwrap();
        let at = |line, column, length| {
            Shown(
                &file,
                Span {
                    line,
                    column,
                    length,
                },
            )
            .to_string()
        };
        assert_eq!(
            at(1, 15, 1),
            "  1 | a: { b: ***, c: 1 }\n    |              ^\n"
        );
        assert_eq!(
            at(1, 9, 4),
            "  1 | a: { b: ***, c: 1 }\n    |         ^^^\n"
        );
        assert_eq!(at(2, 1, 4), "  2 | more ***\n    | ^^^^\n");
    }
}
