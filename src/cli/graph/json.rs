//! The wiring as JSON, for programs.

use serde_json::{Value, json};

use super::parts::Parts;
use super::wiring::Wiring;

pub(super) fn draw(wiring: &Wiring<'_>) -> Value {
    let parts = Parts::of(wiring);
    let nodes = parts.nodes.iter();
    let nodes: Vec<Value> = nodes
        .map(|node| json!({ "id": node.id, "role": node.role.name(), "lines": node.lines }))
        .collect();
    let edges = parts.edges.iter();
    let edges: Vec<Value> = edges
        .map(|edge| json!({ "from": edge.from, "to": edge.to, "label": edge.label }))
        .collect();
    let config = wiring.config;
    json!({ "service": config.service.name, "version": config.version, "nodes": nodes, "edges": edges })
}
