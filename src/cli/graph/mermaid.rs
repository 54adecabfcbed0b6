//! The wiring as a Mermaid flowchart, which Markdown pages of many hosts show.

use std::collections::HashMap;

use super::parts::{Parts, Role};
use super::wiring::Wiring;

pub(super) fn draw(wiring: &Wiring<'_>) -> String {
    let parts = Parts::of(wiring);
    let mut chart = "flowchart LR\n".to_owned();
    // names may be Mermaid's own words, such as `end`
    let nodes = parts.nodes.iter().enumerate();
    let ids: HashMap<&str, String> = nodes
        .map(|(at, node)| (node.id.as_str(), format!("n{at}")))
        .collect();
    for node in &parts.nodes {
        let lines: Vec<String> = node.lines.iter().map(|line| escaped(line)).collect();
        let (open, close) = shape(node.role);
        let (id, label) = (&ids[node.id.as_str()], lines.join("<br/>"));
        chart.push_str(&format!("  {id}{open}\"{label}\"{close}\n"));
    }
    for edge in &parts.edges {
        let (from, to) = (&ids[edge.from.as_str()], &ids[edge.to.as_str()]);
        let arrow = match edge.label.as_str() {
            "" => "-->".to_owned(),
            label => format!("-->|\"{}\"|", escaped(label)),
        };
        chart.push_str(&format!("  {from} {arrow} {to}\n"));
    }
    chart
}

fn shape(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Source => (">", "]"),
        Role::Router => ("((", "))"),
        Role::Type => ("([", "])"),
        Role::Handler => ("[", "]"),
        Role::Sink => ("[(", ")]"),
        Role::End => ("{{", "}}"),
    }
}

/// Mermaid's own entities: a `#` and the character's number.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '#' | '<' | '>' | '&' | '`' | ';' => {
                out.push_str(&format!("#{};", u32::from(letter)));
            }
            other => out.push(other),
        }
    }
    out
}
