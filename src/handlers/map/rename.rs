//! The first step of a map: members get other names. It is a splice of its own, so that all that follows sees one renamed event.

use super::attribute::check_attribute;
use super::plan::MapError;
use super::problems::{Problems, line_segments};
use super::splice::{Action, Edits, Splice, Values};
use crate::expression::{
    EventView, Located, NodeId, Path, PathTrie, Segment, Span, skip_whitespace,
};

/// A compiled `rename`.
#[derive(Debug)]
pub(crate) struct Rename {
    trie: PathTrie,
    /// The node of `data`.
    data: NodeId,
    edits: Edits,
    /// The old names; the number of each is the number of its value.
    sources: Vec<NodeId>,
    pub(crate) moves: Vec<(Path, Path)>,
    renames_attributes: bool,
}

/// Where `data` stands in a renamed line.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NewData {
    At(Span),
    Unknown,
}

impl Rename {
    /// Compiles the pairs (old, new); all paths among them must be apart from one another.
    pub(crate) fn compile(pairs: &[(String, String)], problems: &mut Problems) -> Option<Self> {
        let mut moves: Vec<(Path, Path)> = Vec::new();
        for (old, new) in pairs {
            let key = format!("rename.{old}");
            let from = problems.editable_part(&key, old);
            let to = problems.editable_part(&key, new);
            let (Some(from), Some(to)) = (from, to) else {
                continue;
            };
            if let Some(other) = overlap(&moves, &from, &to) {
                let message = "all renamed paths must be apart from one another";
                problems.add(
                    key,
                    format!("'{from}' to '{to}' overlaps '{other}': {message}"),
                );
                continue;
            }
            moves.push((from, to));
        }
        (!moves.is_empty()).then(|| Self::of(moves))
    }

    fn of(moves: Vec<(Path, Path)>) -> Self {
        let mut trie = PathTrie::new();
        let data = trie.insert(PathTrie::ROOT, &[Segment::Key("data".into())]);
        let mut edits = Edits::default();
        let mut sources = Vec::new();
        for (number, (from, to)) in moves.iter().enumerate() {
            let segments = line_segments(from);
            edits.add(&mut trie, &segments, &from.to_string(), Action::Remove);
            sources.push(trie.insert(PathTrie::ROOT, &segments));
            let put = Action::Put(number);
            edits.add(&mut trie, &line_segments(to), &to.to_string(), put);
        }
        let renames_attributes = moves
            .iter()
            .any(|(from, to)| &*from.root != "data" || &*to.root != "data");
        Self {
            trie,
            data,
            edits,
            sources,
            moves,
            renames_attributes,
        }
    }

    /// Writes the line with its new names to `out`; `None`, and nothing written, if the event has none of the old ones.
    pub(crate) fn apply<'a>(
        &self,
        event: &impl EventView<'a>,
        located: &mut Located,
        spans: &mut Vec<Span>,
        out: &mut Vec<u8>,
    ) -> Result<Option<NewData>, MapError> {
        let line = event.line();
        // Only where an attribute gets or loses a name must the whole line be scanned.
        let (node, start) = match event.data_span() {
            _ if self.renames_attributes => (PathTrie::ROOT, skip_whitespace(line.as_bytes(), 0)),
            Some(data) => (self.data, data.start),
            None => return Ok(None),
        };
        let end = located.scan(&self.trie, node, line, start)?;
        spans.clear();
        spans.extend(self.sources.iter().map(|source| located.span(*source)));
        if spans.iter().all(|span| span.is_absent()) {
            return Ok(None);
        }
        let writes_data = |(_, to): &(Path, Path)| &*to.root == "data";
        if event.data_span().is_none()
            && self
                .moves
                .iter()
                .zip(&*spans)
                .any(|(ends, span)| writes_data(ends) && !span.is_absent())
            && event.attribute("data_base64").is_some()
        {
            return Err(MapError::Binary);
        }
        self.check_attributes(line, spans)?;
        let values = Values {
            text: line.as_bytes(),
            spans,
        };
        out.extend_from_slice(&line.as_bytes()[..start]);
        Splice {
            text: line,
            located,
            edits: &self.edits,
            values,
        }
        .write(node, out)?;
        let written = Span {
            start,
            end: out.len(),
        };
        out.extend_from_slice(&line.as_bytes()[end..]);
        Ok(Some(if node == self.data {
            NewData::At(written)
        } else {
            NewData::Unknown
        }))
    }

    fn check_attributes(&self, line: &str, spans: &[Span]) -> Result<(), MapError> {
        for ((from, to), span) in self.moves.iter().zip(spans) {
            if let (true, Some(value)) = (&*to.root != "data", span.of(line)) {
                check_attribute(&to.root, value).map_err(|found| MapError::Attribute {
                    rule: format!("rename.{from}"),
                    attribute: to.root.to_string(),
                    found,
                })?;
            }
        }
        Ok(())
    }
}

/// A path that `from` or `to` overlaps: one of those renamed already, or each other.
fn overlap<'p>(moves: &'p [(Path, Path)], from: &'p Path, to: &'p Path) -> Option<&'p Path> {
    let overlaps = |one: &Path, other: &Path| one.covers(other) || other.covers(one);
    if overlaps(from, to) {
        return Some(from);
    }
    let mut known = moves.iter().flat_map(|(from, to)| [from, to]);
    known.find(|path| overlaps(path, from) || overlaps(path, to))
}
