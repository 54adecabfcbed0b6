//! The wiring in the language of Graphviz.

use super::parts::{Parts, Role};
use super::wiring::Wiring;

pub(super) fn draw(wiring: &Wiring<'_>) -> String {
    let parts = Parts::of(wiring);
    let mut dot =
        "digraph veltrix {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n".to_owned();
    for node in &parts.nodes {
        let lines: Vec<String> = node.lines.iter().map(|line| escaped(line)).collect();
        let (id, label) = (escaped(&node.id), lines.join("\\n"));
        dot.push_str(&format!(
            "  \"{id}\" [shape={}, label=\"{label}\"];\n",
            shape(node.role)
        ));
    }
    for edge in &parts.edges {
        let (from, to) = (escaped(&edge.from), escaped(&edge.to));
        let label = match edge.label.as_str() {
            "" => String::new(),
            label => format!(" [label=\"{}\"]", escaped(label)),
        };
        dot.push_str(&format!("  \"{from}\" -> \"{to}\"{label};\n"));
    }
    dot.push_str("}\n");
    dot
}

fn shape(role: Role) -> &'static str {
    match role {
        Role::Source => "cds",
        Role::Router => "circle",
        Role::Type => "plaintext",
        Role::Handler => "box",
        Role::Sink => "cylinder",
        Role::End => "note",
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
