//! The first step of a map: members get other names. It is a splice of its own, so that all that follows sees one renamed event.

use super::plan::MapError;
use super::problems::{Problems, line_segments};
use super::splice::{Action, Edits, Splice, Values};
use crate::expression::{EventView, Located, NodeId, Path, PathTrie, Span, skip_whitespace};

/// A compiled `rename`.
#[derive(Debug)]
pub(crate) struct Rename {
    trie: PathTrie,
    edits: Edits,
    /// The old names; the number of each is the number of its value.
    sources: Vec<NodeId>,
    pub(crate) moves: Vec<(Path, Path)>,
}

impl Rename {
    /// Compiles the pairs (old, new); all paths among them must be apart from one another.
    pub(crate) fn compile(pairs: &[(String, String)], problems: &mut Problems) -> Option<Self> {
        let mut rename = Self {
            trie: PathTrie::new(),
            edits: Edits::default(),
            sources: Vec::new(),
            moves: Vec::new(),
        };
        for (old, new) in pairs {
            let key = format!("rename.{old}");
            let (Some(from), Some(to)) = (
                problems.editable_part(&key, old),
                problems.editable_part(&key, new),
            ) else {
                continue;
            };
            let known = rename.moves.iter().flat_map(|(from, to)| [from, to]);
            let clash = known
                .chain([&from])
                .find(|path| path.covers(&to) || to.covers(path));
            let clash = clash.or_else(|| {
                let mut known = rename.moves.iter().flat_map(|(from, to)| [from, to]);
                known.find(|path| path.covers(&from) || from.covers(path))
            });
            if let Some(clash) = clash {
                problems.add(key, format!("'{from}' to '{to}' overlaps '{clash}': all renamed paths must be apart from one another"));
                continue;
            }
            rename.moves.push((from, to));
        }
        // Sources first, so that a source is removed whatever stands beside it.
        for (number, (from, to)) in rename.moves.iter().enumerate() {
            let segments = line_segments(from);
            rename.edits.add(
                &mut rename.trie,
                &segments,
                &from.to_string(),
                Action::Remove,
            );
            rename
                .sources
                .push(rename.trie.insert(PathTrie::ROOT, &segments));
            rename.edits.add(
                &mut rename.trie,
                &line_segments(to),
                &to.to_string(),
                Action::Put(number),
            );
        }
        (!rename.moves.is_empty()).then_some(rename)
    }

    /// Writes the line with its new names to `out`; false, and nothing written, if the event has none of the old ones.
    pub(crate) fn apply<'a>(
        &self,
        event: &impl EventView<'a>,
        located: &mut Located,
        spans: &mut Vec<Span>,
        out: &mut Vec<u8>,
    ) -> Result<bool, MapError> {
        let line = event.line();
        located.scan(
            &self.trie,
            PathTrie::ROOT,
            line,
            skip_whitespace(line.as_bytes(), 0),
        )?;
        spans.clear();
        spans.extend(self.sources.iter().map(|source| located.span(*source)));
        if spans.iter().all(|span| span.is_absent()) {
            return Ok(false);
        }
        for ((from, to), span) in self.moves.iter().zip(&*spans) {
            if let (true, Some(value)) = (&*to.root != "data", span.of(line)) {
                super::plan::check_attribute(&to.root, value).map_err(|found| {
                    MapError::Attribute {
                        rule: format!("rename.{from}"),
                        attribute: to.root.to_string(),
                        found,
                    }
                })?;
            }
        }
        let values = Values {
            text: line.as_bytes(),
            spans,
        };
        Splice {
            text: line,
            located,
            edits: &self.edits,
            values,
        }
        .write(PathTrie::ROOT, out)?;
        Ok(true)
    }
}
