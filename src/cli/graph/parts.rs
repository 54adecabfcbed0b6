//! The wiring as nodes and edges, for those forms that leave the drawing to others.

use std::collections::HashSet;

use super::wiring::{Wiring, results, sends_round, sinks_of, supervision};
use crate::config::{HandlerConfig, Unmatched};

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Source,
    Router,
    /// A type pattern.
    Type,
    Handler,
    Sink,
    /// Where events end that nobody wants or that failed.
    End,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Router => ROUTER,
            Self::Type => "type",
            Self::Handler => "handler",
            Self::Sink => "sink",
            Self::End => "end",
        }
    }
}

pub(super) struct Node {
    pub(super) id: String,
    pub(super) role: Role,
    /// What is written into it.
    pub(super) lines: Vec<String>,
}

#[derive(PartialEq, Eq, Hash, Clone)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) label: String,
}

/// Each node and each edge once, in the order of the config.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
    known_nodes: HashSet<String>,
    known_edges: HashSet<Edge>,
}

impl Parts {
    pub(super) fn of(wiring: &Wiring<'_>) -> Self {
        let mut parts = Self::default();
        for source in &wiring.config.sources {
            let lines = vec![source.name.clone(), wiring.source(source)];
            let id = parts.node(Role::Source, &source.name, lines);
            parts.edge(&id, ROUTER, "");
        }
        parts.node(Role::Router, "", vec![ROUTER.to_owned()]);
        for handler in &wiring.handlers {
            parts.add_handler(wiring, handler);
        }
        for sink in &wiring.sinks {
            let lines = vec![sink.name.clone(), wiring.sink(sink)];
            parts.node(Role::Sink, &sink.name, lines);
        }
        parts.add_ends(wiring);
        parts
    }

    fn add_handler(&mut self, wiring: &Wiring<'_>, handler: &HandlerConfig) {
        let mut lines = vec![handler.name.clone(), wiring.handler(handler)];
        lines.extend(wiring.condition(handler));
        lines.extend(supervision(handler));
        let id = self.node(Role::Handler, &handler.name, lines);
        for pattern in wiring.patterns(handler) {
            let pattern = self.node(Role::Type, pattern, vec![pattern.to_owned()]);
            self.edge(ROUTER, &pattern, "");
            self.edge(&pattern, &id, "");
        }
        for sink in sinks_of(handler) {
            self.edge(&id, &id_of(Role::Sink, sink), results(handler));
        }
        if sends_round(handler) {
            self.edge(&id, ROUTER, results(handler));
        }
    }

    /// Events that nobody wants, and dead letters.
    fn add_ends(&mut self, wiring: &Wiring<'_>) {
        if wiring.has_unmatched {
            let end = match &wiring.config.unmatched {
                Unmatched::Sink(name) => id_of(Role::Sink, name),
                Unmatched::DeadLetter => {
                    self.node(Role::End, "dead-letters", vec!["dead letters".to_owned()])
                }
                Unmatched::Drop => self.node(Role::End, "dropped", vec!["dropped".to_owned()]),
            };
            self.edge(ROUTER, &end, "unmatched");
        }
        if let Some(sink) = &wiring.config.dead_letters.also_to {
            let end = self.node(Role::End, "dead-letters", vec!["dead letters".to_owned()]);
            self.edge(&end, &id_of(Role::Sink, sink), "");
        }
    }

    /// Adds the node, unless it is there already, and returns its id.
    fn node(&mut self, role: Role, name: &str, lines: Vec<String>) -> String {
        let id = id_of(role, name);
        if self.known_nodes.insert(id.clone()) {
            self.nodes.push(Node {
                id: id.clone(),
                role,
                lines,
            });
        }
        id
    }

    fn edge(&mut self, from: &str, to: &str, label: &str) {
        let edge = Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            label: label.to_owned(),
        };
        if self.known_edges.insert(edge.clone()) {
            self.edges.push(edge);
        }
    }
}

const ROUTER: &str = "router";

fn id_of(role: Role, name: &str) -> String {
    match role {
        Role::Router => ROUTER.to_owned(),
        _ => format!("{}.{name}", role.name()),
    }
}
