//! Which handlers want an event type: a trie of patterns, with the answer kept for each interned type.

use std::collections::HashMap;
use std::rc::Rc;

use crate::pattern::{Segment, TypePattern};
use crate::types::TypeId;

/// A handler's number in its route table.
pub type HandlerIndex = u32;

/// Patterns of all handlers, walked once a type.
#[derive(Debug, Default)]
pub struct RouteTable {
    root: Node,
    /// By interned type; filled at the first event of the type. Bounded by the type table's cap.
    known: Vec<Option<Rc<[HandlerIndex]>>>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    any: Option<Box<Node>>,
    /// Handlers of patterns that end here.
    ends: Vec<HandlerIndex>,
    /// Handlers of patterns that take all the rest from here, at least one segment.
    rest: Vec<HandlerIndex>,
}

impl RouteTable {
    /// Has `handler` get the types that `pattern` stands for.
    pub fn add(&mut self, pattern: &TypePattern, handler: HandlerIndex) {
        self.known.clear();
        let mut node = &mut self.root;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.into()).or_default(),
                Segment::Any => node.any.get_or_insert_default(),
                Segment::Rest => {
                    node.rest.push(handler);
                    return;
                }
            };
        }
        node.ends.push(handler);
    }

    /// The handlers of an event type, each once, in ascending order.
    pub fn handlers(
        &mut self,
        type_id: TypeId,
        name: impl FnOnce() -> String,
    ) -> Rc<[HandlerIndex]> {
        let Some(index) = type_id.index() else {
            return self.find(&name());
        };
        if let Some(Some(handlers)) = self.known.get(index) {
            return Rc::clone(handlers);
        }
        let handlers = self.find(&name());
        if self.known.len() <= index {
            self.known.resize(index + 1, None);
        }
        self.known[index] = Some(Rc::clone(&handlers));
        handlers
    }

    fn find(&self, name: &str) -> Rc<[HandlerIndex]> {
        let segments: Vec<&str> = name.split('.').collect();
        let mut found = Vec::new();
        // Each step keeps the few nodes that the type has reached, so that hostile types with many segments cost
        // no more than segments × patterns, and no recursion.
        let mut reached = vec![&self.root];
        for segment in &segments {
            let mut next = Vec::new();
            for node in reached {
                found.extend_from_slice(&node.rest);
                next.extend(node.literals.get(*segment));
                next.extend(node.any.as_deref());
            }
            reached = next;
        }
        for node in reached {
            found.extend_from_slice(&node.ends);
        }
        found.sort_unstable();
        found.dedup();
        found.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_each_pattern_alone_would_match() {
        let patterns = [
            "a", "a.b", "a.*", "*.b", "a.>", ">", "a.*.c", "*.*", "a.b.>",
        ];
        let mut table = RouteTable::default();
        for (handler, pattern) in (0..).zip(patterns) {
            table.add(&TypePattern::parse(pattern).expect(pattern), handler);
        }
        for name in [
            "a", "b", "a.b", "a.c", "x.b", "a.b.c", "a.x.c", "a.b.c.d", "", "a.",
        ] {
            let expected: Vec<HandlerIndex> = (0..)
                .zip(patterns)
                .filter(|(_, pattern)| TypePattern::parse(pattern).expect(pattern).matches(name))
                .map(|(handler, _)| handler)
                .collect();
            assert_eq!(
                &*table.handlers(TypeId::UNINTERNED, || name.to_owned()),
                expected,
                "{name}"
            );
        }
    }
}
