//! Finds results that would go round for ever: handlers that send to the router what comes back to them.

use std::collections::{HashMap, HashSet};

use veltrix_actors::{Segment, TypePattern};

/// A handler that sends results to the router, as far as loops are concerned.
#[derive(Debug)]
pub(crate) struct Emitter<'a> {
    pub(crate) name: &'a str,
    pub(crate) on: &'a [TypePattern],
    /// The type of its results; `None` if they are the events themselves.
    pub(crate) emits: Option<&'a str>,
}

/// One way round.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loop<'a> {
    /// The handler sends the events it gets back to itself.
    PassesOn(&'a str),
    /// The handlers in order, each sending what the next one wants, the last one to the first.
    Through(Vec<&'a str>),
}

/// Every loop, one for each handler that closes one.
pub(crate) fn find<'a>(emitters: &[Emitter<'a>]) -> Vec<Loop<'a>> {
    let index = Index::new(emitters);
    let mut loops: Vec<_> = emitters
        .iter()
        .filter(|emitter| emitter.emits.is_none())
        .map(|emitter| Loop::PassesOn(emitter.name))
        .collect();
    let next: Vec<Vec<usize>> = emitters
        .iter()
        .map(|emitter| index.wanting(emitter.emits, emitters))
        .collect();
    loops.extend(
        cycles(&next)
            .into_iter()
            .map(|cycle| Loop::Through(cycle.iter().map(|at| emitters[*at].name).collect())),
    );
    loops
}

/// Emitters by the first segment of what they want, so that thousands of handlers need not be compared in pairs.
struct Index<'a> {
    by_first: HashMap<&'a str, Vec<usize>>,
    /// Those whose pattern begins with a wildcard.
    any: Vec<usize>,
}

impl<'a> Index<'a> {
    fn new(emitters: &[Emitter<'a>]) -> Self {
        let mut index = Self {
            by_first: HashMap::new(),
            any: Vec::new(),
        };
        for (at, emitter) in emitters.iter().enumerate() {
            for pattern in emitter.on {
                match pattern.segments().next() {
                    Some(Segment::Literal(first)) => {
                        index.by_first.entry(first).or_default().push(at)
                    }
                    _ => index.any.push(at),
                }
            }
        }
        index
    }

    fn wanting(&self, emitted: Option<&str>, emitters: &[Emitter<'_>]) -> Vec<usize> {
        let Some(emitted) = emitted else {
            return Vec::new();
        };
        let first = emitted.split('.').next().unwrap_or_default();
        let candidates: HashSet<usize> = self
            .by_first
            .get(first)
            .into_iter()
            .flatten()
            .chain(&self.any)
            .copied()
            .collect();
        let mut wanting: Vec<usize> = candidates
            .into_iter()
            .filter(|at| {
                emitters[*at]
                    .on
                    .iter()
                    .any(|pattern| pattern.matches(emitted))
            })
            .collect();
        wanting.sort_unstable();
        wanting
    }
}

/// A depth-first walk without recursion; every edge back to the current way closes a cycle.
fn cycles(next: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    let mut seen = vec![false; next.len()];
    let mut on_way = vec![false; next.len()];
    for start in 0..next.len() {
        if seen[start] {
            continue;
        }
        seen[start] = true;
        on_way[start] = true;
        let mut way = vec![(start, 0)];
        while let Some((at, edge)) = way.last_mut() {
            let (here, taken) = (*at, *edge);
            *edge += 1;
            match next[here].get(taken) {
                None => {
                    on_way[here] = false;
                    way.pop();
                }
                Some(&there) if on_way[there] => {
                    let cycle = way.iter().map(|(at, _)| *at).skip_while(|at| *at != there);
                    found.push(cycle.collect());
                }
                Some(&there) if !seen[there] => {
                    seen[there] = true;
                    on_way[there] = true;
                    way.push((there, 0));
                }
                Some(_) => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(handlers: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        let patterns: Vec<_> = handlers
            .iter()
            .map(|(_, on, _)| [TypePattern::parse(on).unwrap()])
            .collect();
        let emitters: Vec<_> = handlers
            .iter()
            .zip(&patterns)
            .map(|((name, _, emits), on)| Emitter {
                name,
                on,
                emits: *emits,
            })
            .collect();
        let text = |found: Loop<'_>| match found {
            Loop::PassesOn(name) => format!("{name} to itself"),
            Loop::Through(names) => names.join(" > "),
        };
        find(&emitters).into_iter().map(text).collect()
    }

    #[test]
    fn a_chain_is_no_loop() {
        let chain = [
            ("a", "x.1", Some("x.2")),
            ("b", "x.2", Some("x.3")),
            ("c", "x.3", Some("x.4")),
        ];
        assert!(found(&chain).is_empty());
    }

    #[test]
    fn two_ways_to_one_handler_are_no_loop() {
        let diamond = [
            ("a", "x.1", Some("y")),
            ("b", "y", Some("z")),
            ("c", "y", Some("z")),
            ("d", "z", Some("end")),
        ];
        assert!(found(&diamond).is_empty());
    }

    #[test]
    fn a_handler_that_emits_what_it_wants_is_a_loop() {
        assert_eq!(found(&[("a", "x.>", Some("x.y"))]), ["a"]);
        assert_eq!(found(&[("a", "*.*", Some("x.y"))]), ["a"]);
    }

    #[test]
    fn a_handler_that_passes_events_on_to_the_router_is_a_loop() {
        assert_eq!(found(&[("a", "x", None)]), ["a to itself"]);
    }

    #[test]
    fn loops_through_others_are_found_from_any_start() {
        let handlers = [
            ("in", "start", Some("x")),
            ("a", "x", Some("y")),
            ("b", "y", Some("z")),
            ("c", "z", Some("x")),
        ];
        assert_eq!(found(&handlers), ["a > b > c"]);
        let twice = [
            ("a", "x", Some("y")),
            ("b", "y", Some("x")),
            ("c", "p", Some("q")),
            ("d", "q", Some("p")),
        ];
        assert_eq!(found(&twice), ["a > b", "c > d"]);
    }

    #[test]
    fn thousands_of_handlers_in_one_chain_are_walked() {
        let texts: Vec<(String, String)> = (0..5000)
            .map(|n| (format!("h{n}.in"), format!("h{}.in", n + 1)))
            .collect();
        let mut handlers: Vec<_> = texts
            .iter()
            .map(|(on, emit)| (on.as_str(), on.as_str(), Some(emit.as_str())))
            .collect();
        assert!(found(&handlers).is_empty());
        handlers.push(("back", "h5000.in", Some("h0.in")));
        assert_eq!(found(&handlers).len(), 1);
    }
}
