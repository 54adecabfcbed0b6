//! Reads TOML into values with spans.

use std::{ops::Range, sync::Arc};

use toml_edit::{Document, Item, Key, TableLike, Value};

use super::{
    node::{Entry, MAX_NODES, Node, NodeKind, Scalar},
    origins::{FileLocation, Location, SourceFile, Span},
    problems::Problem,
};

/// Parses a file; a syntax error (a duplicate key is one) is the only problem.
pub(crate) fn parse(file: &Arc<SourceFile>) -> (Option<Node>, Vec<Problem>) {
    let reader = Reader::new(file);
    let failed = |span: Span, message: String| {
        let location = Location::File(FileLocation {
            file: Arc::clone(file),
            span,
        });
        (None, vec![Problem::at(location, message, None)])
    };
    match Document::parse(file.text.as_str()) {
        Ok(document) => {
            let root = reader.table(document.as_table(), Span::START);
            if root.count() > MAX_NODES {
                return failed(
                    Span::START,
                    format!("more than {MAX_NODES} values in one file"),
                );
            }
            (Some(root), Vec::new())
        }
        Err(error) => {
            let message = error.message().trim().replace('\n', "; ");
            failed(
                reader.span(error.span()),
                format!("not valid TOML: {message}"),
            )
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    /// The byte at which each line begins.
    line_starts: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a SourceFile) -> Self {
        let text = file.text.as_str();
        let line_starts = [0]
            .into_iter()
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, line_starts }
    }

    fn table(&self, table: &dyn TableLike, span: Span) -> Node {
        let entries = table
            .iter()
            .filter_map(|(name, item)| {
                let key = table.key(name).and_then(Key::span);
                let key_span = self.span(key.or_else(|| item.span()));
                let value = self.item(item, key_span)?;
                Some(Entry {
                    key: name.to_owned(),
                    key_span,
                    value,
                })
            })
            .collect();
        Node {
            kind: NodeKind::Map(entries),
            span,
        }
    }

    /// `key` is the span of a table that has none of its own (`[a.b]` implies `a`).
    fn item(&self, item: &Item, key: Span) -> Option<Node> {
        let span = item.span().map_or(key, |span| self.span(Some(span)));
        match item {
            Item::None => None,
            Item::Value(value) => Some(self.value(value, span)),
            Item::Table(table) => Some(self.table(table, span)),
            Item::ArrayOfTables(tables) => {
                let nodes = tables
                    .iter()
                    .map(|table| self.table(table, self.span(table.span())))
                    .collect();
                Some(Node {
                    kind: NodeKind::List(nodes),
                    span,
                })
            }
        }
    }

    fn value(&self, value: &Value, span: Span) -> Node {
        let scalar = match value {
            Value::Array(items) => {
                let nodes = items
                    .iter()
                    .map(|item| self.value(item, self.span(item.span())))
                    .collect();
                return Node {
                    kind: NodeKind::List(nodes),
                    span,
                };
            }
            Value::InlineTable(table) => return self.table(table, span),
            Value::String(text) => Scalar::Text(text.value().clone()),
            Value::Integer(number) => Scalar::Integer(*number.value()),
            Value::Float(number) if number.value().is_finite() => Scalar::Float(*number.value()),
            Value::Float(number) => Scalar::Text(number.value().to_string()),
            Value::Boolean(flag) => Scalar::Boolean(*flag.value()),
            Value::Datetime(time) => Scalar::Text(time.value().to_string()),
        };
        Node {
            kind: NodeKind::Scalar(scalar),
            span,
        }
    }

    /// From bytes to line and column; the first line counts.
    fn span(&self, bytes: Option<Range<usize>>) -> Span {
        let Some(Range { start, end }) = bytes else {
            return Span::START;
        };
        let start = start.min(self.text.len());
        let line = self.line_starts.partition_point(|begin| *begin <= start);
        let begin = self.line_starts[line - 1];
        let count =
            |range: Range<usize>| self.text.get(range).map_or(0, |text| text.chars().count());
        let line_end = self.text[begin..]
            .find('\n')
            .map_or(self.text.len(), |at| begin + at);
        let length = count(start..end.clamp(start, line_end.max(start)));
        Span {
            line,
            column: count(begin..start) + 1,
            length: length.max(1),
        }
    }
}
