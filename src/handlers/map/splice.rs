//! Writes an edited value as the untouched bytes of the original with the edits between: nothing is parsed into a tree or written anew.

use crate::expression::{Located, Member, NodeId, PathTrie, Segment, Span, kind_of, write_text};

/// What happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Remove,
    /// It gets the value of this number; where there is no such value, it stays as it is.
    Put(usize),
}

/// The edits of one pass, laid over a [`PathTrie`]. No edited path may lie below another one.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    /// By node of the trie; nodes that are only read have an empty entry or none.
    nodes: Vec<EditNode>,
}

#[derive(Debug, Clone, Default)]
struct EditNode {
    action: Option<Action>,
    /// Members with edits, in the order in which new ones are appended.
    children: Vec<NodeId>,
    /// The key as JSON text with its colon.
    key: Box<[u8]>,
    /// For error messages.
    path: Box<str>,
}

impl Edits {
    /// Has `action` happen at `segments` below the root of the trie.
    pub(crate) fn add(
        &mut self,
        trie: &mut PathTrie,
        segments: &[Segment],
        path: &str,
        action: Action,
    ) {
        let mut parent = PathTrie::ROOT;
        for (depth, segment) in segments.iter().enumerate() {
            let node = trie.insert_edited(parent, std::slice::from_ref(segment));
            if self.nodes.len() < trie.len() {
                self.nodes.resize(trie.len(), EditNode::default());
            }
            if !self.nodes[parent].children.contains(&node) {
                self.nodes[parent].children.push(node);
            }
            let entry = &mut self.nodes[node];
            if let Segment::Key(key) = segment {
                let mut text = Vec::new();
                write_text(key, &mut text);
                text.push(b':');
                entry.key = text.into();
            }
            if depth + 1 == segments.len() {
                entry.action = Some(action);
            }
            // Close enough for an error message: the whole edited path tells which rule it was.
            entry.path = path.into();
            parent = node;
        }
    }

    /// Whether a member, or one below it, is edited.
    pub(crate) fn touch(&self, node: NodeId) -> bool {
        self.nodes
            .get(node)
            .is_some_and(|entry| entry.action.is_some() || !entry.children.is_empty())
    }

    fn action(&self, node: NodeId) -> Option<Action> {
        self.nodes.get(node).and_then(|entry| entry.action)
    }

    fn children(&self, node: NodeId) -> &[NodeId] {
        self.nodes.get(node).map_or(&[], |entry| &entry.children)
    }
}

/// The new values of a pass, as JSON text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) text: &'a [u8],
    /// By number; absent where the pass has no value for this event.
    pub(crate) spans: &'a [Span],
}

impl<'a> Values<'a> {
    pub(crate) fn get(&self, number: usize) -> Option<&'a [u8]> {
        let span = self.spans.get(number).filter(|span| !span.is_absent())?;
        self.text.get(span.start..span.end)
    }
}

/// An edit that the event has no place for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no place for '{path}': its parent is {found}, not an object")]
pub(crate) struct NoPlace {
    pub(crate) path: String,
    pub(crate) found: &'static str,
}

/// One pass over one text.
pub(crate) struct Splice<'a> {
    pub(crate) text: &'a str,
    pub(crate) located: &'a Located,
    pub(crate) edits: &'a Edits,
    pub(crate) values: Values<'a>,
}

/// What happens to a member as it stands in the text.
enum Fate<'a> {
    Keep,
    Delete,
    Replace(&'a [u8]),
    Descend,
}

impl<'a> Splice<'a> {
    /// Appends the value of `node` with its edits. A value that is not there is written if edits create it.
    pub(crate) fn write(&self, node: NodeId, out: &mut Vec<u8>) -> Result<(), NoPlace> {
        if let Some(value) = self.put(node) {
            out.extend_from_slice(value);
            return Ok(());
        }
        let Some(original) = self.located.span(node).of(self.text) else {
            return self.write_created(node, out);
        };
        if self.edits.children(node).is_empty() {
            out.extend_from_slice(original.as_bytes());
        } else if original.starts_with('{') {
            self.write_object(node, out)?;
        } else {
            if let Some(child) = self
                .edits
                .children(node)
                .iter()
                .find(|child| self.creates(**child))
            {
                return Err(NoPlace {
                    path: self.edits.nodes[*child].path.to_string(),
                    found: kind_of(original),
                });
            }
            out.extend_from_slice(original.as_bytes());
        }
        Ok(())
    }

    /// Whether there is a value to write at `node` or below it.
    pub(crate) fn creates(&self, node: NodeId) -> bool {
        self.put(node).is_some()
            || self
                .edits
                .children(node)
                .iter()
                .any(|child| self.creates(*child))
    }

    fn put(&self, node: NodeId) -> Option<&'a [u8]> {
        match self.edits.action(node) {
            Some(Action::Put(number)) => self.values.get(number),
            _ => None,
        }
    }

    fn write_object(&self, node: NodeId, out: &mut Vec<u8>) -> Result<(), NoPlace> {
        let object = self.located.object(node);
        let mut copied = object.start;
        let mut deleted = 0;
        for member in self.located.members(node) {
            match self.fate(member) {
                Fate::Keep => {}
                Fate::Delete => {
                    // With a member kept before it, it goes with the comma before it, else with the comma after it.
                    let (from, to) = if member.ordinal > deleted {
                        (member.separator_start, member.value.end)
                    } else {
                        (
                            member.key_start,
                            member.next_key_start.unwrap_or(member.value.end),
                        )
                    };
                    self.copy(copied, from, out);
                    copied = to;
                    deleted += 1;
                }
                Fate::Replace(value) => {
                    self.copy(copied, member.value.start, out);
                    out.extend_from_slice(value);
                    copied = member.value.end;
                }
                Fate::Descend => {
                    self.copy(copied, member.value.start, out);
                    self.write(member.child, out)?;
                    copied = member.value.end;
                }
            }
        }
        self.copy(copied, object.last_end, out);
        let created = self
            .edits
            .children(node)
            .iter()
            .filter(|child| self.located.span(**child).is_absent());
        self.write_members(created, object.member_count > deleted, out)?;
        self.copy(
            object.last_end.max(copied),
            self.located.span(node).end,
            out,
        );
        Ok(())
    }

    fn write_created(&self, node: NodeId, out: &mut Vec<u8>) -> Result<(), NoPlace> {
        out.push(b'{');
        self.write_members(self.edits.children(node).iter(), false, out)?;
        out.push(b'}');
        Ok(())
    }

    /// Appends the members among `children` that come into being.
    fn write_members<'c>(
        &self,
        children: impl Iterator<Item = &'c NodeId>,
        mut after_another: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), NoPlace> {
        for child in children.copied().filter(|child| self.creates(*child)) {
            if after_another {
                out.push(b',');
            }
            out.extend_from_slice(&self.edits.nodes[child].key);
            self.write(child, out)?;
            after_another = true;
        }
        Ok(())
    }

    fn fate(&self, member: &Member) -> Fate<'a> {
        let counts = self.located.span(member.child) == member.value;
        match self.edits.action(member.child) {
            Some(Action::Remove) => Fate::Delete,
            Some(Action::Put(number)) => match self.values.get(number) {
                Some(value) if counts => Fate::Replace(value),
                Some(_) => Fate::Delete,
                None => Fate::Keep,
            },
            None if counts && !self.edits.children(member.child).is_empty() => Fate::Descend,
            None => Fate::Keep,
        }
    }

    fn copy(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        if from < to {
            out.extend_from_slice(&self.text.as_bytes()[from..to]);
        }
    }
}
