//! Finds the values of all wanted paths in one pass over JSON text, with what splicing needs: where the members of edited objects
//! start, end and are separated. Where a key is repeated, the last one counts, as JSON readers do.

use super::path::Segment;
use veltrix_actors::json_scan::{self, ArrayCursor, Malformed, MemberStep, ObjectCursor, Span};

/// What a scan keeps for the next event, in entries: an event with a hundred thousand duplicates must not hold memory for ever.
const MAX_RETAINED_MEMBERS: usize = 1024;

/// A node of a [`PathTrie`].
pub(crate) type NodeId = usize;

/// All wanted paths as one tree; node 0 is the whole text.
#[derive(Debug, Clone)]
pub(crate) struct PathTrie {
    nodes: Vec<TrieNode>,
}

#[derive(Debug, Clone, Default)]
struct TrieNode {
    members: Vec<(Box<str>, NodeId)>,
    elements: Vec<(usize, NodeId)>,
    /// Members of this object are going to be edited: record where they are.
    edited: bool,
}

impl PathTrie {
    pub(crate) const ROOT: NodeId = 0;

    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![TrieNode::default()],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node at `segments` below `from`, added if it is new.
    pub(crate) fn insert(&mut self, from: NodeId, segments: &[Segment]) -> NodeId {
        segments
            .iter()
            .fold(from, |node, segment| self.child_or_insert(node, segment))
    }

    /// As [`Self::insert`], and has the scan record the members of every object on the way.
    pub(crate) fn insert_edited(&mut self, from: NodeId, segments: &[Segment]) -> NodeId {
        segments.iter().fold(from, |node, segment| {
            self.nodes[node].edited = true;
            self.child_or_insert(node, segment)
        })
    }

    fn child_or_insert(&mut self, node: NodeId, segment: &Segment) -> NodeId {
        if let Some(child) = self.child(node, segment) {
            return child;
        }
        let child = self.nodes.len();
        self.nodes.push(TrieNode::default());
        match segment {
            Segment::Key(key) => self.nodes[node].members.push((key.clone(), child)),
            Segment::Index(index) => self.nodes[node].elements.push((*index, child)),
        }
        child
    }

    fn child(&self, node: NodeId, segment: &Segment) -> Option<NodeId> {
        match segment {
            Segment::Key(key) => self.member(node, key),
            Segment::Index(index) => self.element(node, *index),
        }
    }

    fn member(&self, node: NodeId, key: &str) -> Option<NodeId> {
        self.nodes[node]
            .members
            .iter()
            .find(|(name, _)| **name == *key)
            .map(|(_, child)| *child)
    }

    fn element(&self, node: NodeId, index: usize) -> Option<NodeId> {
        self.nodes[node]
            .elements
            .iter()
            .find(|(at, _)| *at == index)
            .map(|(_, child)| *child)
    }

    fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let node = &self.nodes[node];
        node.members
            .iter()
            .map(|(_, child)| *child)
            .chain(node.elements.iter().map(|(_, child)| *child))
    }
}

/// A wanted member of an edited object, as it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) child: NodeId,
    /// How many members stand before it in its object.
    pub(crate) ordinal: usize,
    /// The end of the member before it, or the position after the brace.
    pub(crate) separator_start: usize,
    pub(crate) key_start: usize,
    pub(crate) value: Span,
    /// Where the next member's key starts; `None` for the last member.
    pub(crate) next_key_start: Option<usize>,
    parent: NodeId,
    /// Tells the object that counts from an earlier duplicate of it.
    object_start: usize,
}

/// An edited object, as it stands in the text.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Object {
    pub(crate) start: usize,
    pub(crate) member_count: usize,
    /// The end of its last member, or the position after the brace: new members go here.
    pub(crate) last_end: usize,
}

/// What one scan found. Kept by its user and used again, so that a scan allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Located {
    spans: Vec<SpanEntry>,
    members: Vec<Member>,
}

#[derive(Debug, Clone, Copy)]
struct SpanEntry {
    span: Span,
    object: Object,
}

impl Located {
    /// Scans the value at `start` of `text` as trie node `node`; everything found before is forgotten. Returns the value's end.
    pub(crate) fn scan(
        &mut self,
        trie: &PathTrie,
        node: NodeId,
        text: &str,
        start: usize,
    ) -> Result<usize, Malformed> {
        self.forget_all(trie);
        Scan {
            trie,
            bytes: text.as_bytes(),
            text,
            found: self,
        }
        .value(node, start)
    }

    /// Nothing is found.
    pub(crate) fn forget_all(&mut self, trie: &PathTrie) {
        self.spans.clear();
        self.spans.resize(
            trie.len(),
            SpanEntry {
                span: Span::ABSENT,
                object: Object::default(),
            },
        );
        self.members.clear();
        self.members.shrink_to(MAX_RETAINED_MEMBERS);
    }

    /// The value of `node`, absent if the text has none.
    pub(crate) fn span(&self, node: NodeId) -> Span {
        self.spans
            .get(node)
            .map_or(Span::ABSENT, |entry| entry.span)
    }

    /// What splicing needs of an edited object.
    pub(crate) fn object(&self, node: NodeId) -> Object {
        self.spans[node].object
    }

    /// The recorded members of an edited object, in the order of the text.
    pub(crate) fn members(&self, node: NodeId) -> impl Iterator<Item = &Member> {
        let start = self.object(node).start;
        self.members
            .iter()
            .filter(move |member| member.parent == node && member.object_start == start)
    }
}

struct Scan<'t, 'f> {
    trie: &'t PathTrie,
    bytes: &'t [u8],
    text: &'t str,
    found: &'f mut Located,
}

impl Scan<'_, '_> {
    /// Recursion is bounded by the longest wanted path, never by the text.
    fn value(&mut self, node: NodeId, start: usize) -> Result<usize, Malformed> {
        if !self.found.span(node).is_absent() {
            self.forget(node);
        }
        let wanted = &self.trie.nodes[node];
        let end = match self.bytes.get(start) {
            Some(b'{') if wanted.edited || !wanted.members.is_empty() => {
                self.object(node, start)?
            }
            Some(b'[') if !wanted.elements.is_empty() => self.array(node, start)?,
            _ => json_scan::skip_value(self.bytes, start)?,
        };
        self.found.spans[node].span = Span { start, end };
        Ok(end)
    }

    fn object(&mut self, node: NodeId, start: usize) -> Result<usize, Malformed> {
        let edited = self.trie.nodes[node].edited;
        let mut cursor = ObjectCursor::new(self.bytes, start);
        let mut last_end = start + 1;
        let mut member_count = 0;
        let mut waiting: Option<usize> = None;
        let close = loop {
            let (key, escaped, value_start) = match cursor.step()? {
                MemberStep::Member {
                    key,
                    escaped,
                    value_start,
                } => (key, escaped, value_start),
                MemberStep::End { close } => break close,
            };
            if let Some(record) = waiting.take() {
                self.found.members[record].next_key_start = Some(key.start);
            }
            let end = match self.wanted_member(node, key, escaped)? {
                None => json_scan::skip_value(self.bytes, value_start)?,
                Some(child) => {
                    let end = self.value(child, value_start)?;
                    if edited {
                        waiting = Some(self.found.members.len());
                        self.found.members.push(Member {
                            child,
                            ordinal: member_count,
                            separator_start: last_end,
                            key_start: key.start,
                            value: Span {
                                start: value_start,
                                end,
                            },
                            next_key_start: None,
                            parent: node,
                            object_start: start,
                        });
                    }
                    end
                }
            };
            cursor.value_ended(end);
            last_end = end;
            member_count += 1;
        };
        self.found.spans[node].object = Object {
            start,
            member_count,
            last_end,
        };
        Ok(close + 1)
    }

    #[inline]
    fn wanted_member(
        &self,
        node: NodeId,
        key: Span,
        escaped: bool,
    ) -> Result<Option<NodeId>, Malformed> {
        if escaped {
            let token = &self.text[key.start..key.end];
            let unescaped =
                json_scan::unescape(token).map_err(|_| Malformed { offset: key.start })?;
            return Ok(self.trie.member(node, &unescaped));
        }
        let inner = &self.bytes[key.start + 1..key.end - 1];
        let members = &self.trie.nodes[node].members;
        Ok(members
            .iter()
            .find(|(name, _)| name.as_bytes() == inner)
            .map(|(_, child)| *child))
    }

    fn array(&mut self, node: NodeId, start: usize) -> Result<usize, Malformed> {
        let mut cursor = ArrayCursor::new(self.bytes, start);
        let mut index = 0;
        while let Some(value_start) = cursor.step()? {
            let end = match self.trie.element(node, index) {
                Some(child) => self.value(child, value_start)?,
                None => json_scan::skip_value(self.bytes, value_start)?,
            };
            cursor.value_ended(end);
            index += 1;
        }
        Ok(cursor.end())
    }

    /// A repeated key takes the place of the earlier one, with all that was found below it.
    fn forget(&mut self, node: NodeId) {
        self.found.spans[node].span = Span::ABSENT;
        let trie = self.trie;
        for child in trie.children(node) {
            if !self.found.span(child).is_absent() {
                self.forget(child);
            }
        }
    }
}
