//! The whole wiring as a tree for a terminal.

use super::wiring::{Wiring, results, sends_round, sinks_of, supervision};
use crate::config::{Emits, HandlerConfig};

/// What stands before a child, and before what hangs below it.
pub(super) const MIDDLE: (&str, &str) = ("├─ ", "│  ");
pub(super) const LAST: (&str, &str) = ("└─ ", "   ");

pub(super) fn draw(wiring: &Wiring<'_>) -> String {
    let config = wiring.config;
    let mut text = format!("{}, config {}\n", config.service.name, config.version);
    let sources = config.sources.iter();
    let sources = sources.map(|source| (source.name.as_str(), wiring.source(source)));
    list(&mut text, "sources", sources.collect());
    text.push_str("\nrouter\n");
    for (on, handlers) in groups(&wiring.handlers) {
        text.push_str(&format!("├─ {on}\n"));
        for (at, handler) in handlers.iter().enumerate() {
            let is_last = at + 1 == handlers.len();
            draw_handler(
                &mut text,
                wiring,
                handler,
                if is_last { LAST } else { MIDDLE },
            );
        }
    }
    text.push_str(&format!(
        "└─ whatever no handler wants → {}\n",
        wiring.unmatched()
    ));
    let sinks = wiring.sinks.iter();
    let sinks = sinks.map(|sink| (sink.name.as_str(), wiring.sink(sink)));
    list(&mut text, "sinks", sinks.collect());
    if let Some(sink) = &config.dead_letters.also_to {
        text.push_str(&format!("\ndead letters → {sink}\n"));
    }
    text
}

fn list(text: &mut String, title: &str, rows: Vec<(&str, String)>) {
    text.push_str(&format!("\n{title}\n"));
    let width = rows
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    for (at, (name, about)) in rows.iter().enumerate() {
        let (branch, _) = if at + 1 == rows.len() { LAST } else { MIDDLE };
        text.push_str(&format!("{branch}{name:width$}  {about}\n"));
    }
}

/// Handlers that want the same stand together, where the first of them stands.
fn groups<'a>(handlers: &[&'a HandlerConfig]) -> Vec<(String, Vec<&'a HandlerConfig>)> {
    let mut groups: Vec<(String, Vec<&HandlerConfig>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for handler in handlers {
        let patterns: Vec<&str> = handler.on.iter().map(|pattern| pattern.as_str()).collect();
        let on = patterns.join(", ");
        let place = *places.entry(on.clone()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, group)) => group.push(handler),
            None => groups.push((on, vec![handler])),
        }
    }
    groups
}

fn draw_handler(
    text: &mut String,
    wiring: &Wiring<'_>,
    handler: &HandlerConfig,
    (branch, below): (&str, &str),
) {
    let mut line = |start: &str, rest: &str| text.push_str(&format!("│  {start}{rest}\n"));
    line(
        branch,
        &format!("{}: {}", handler.name, wiring.handler(handler)),
    );
    if let Some(condition) = wiring.condition(handler) {
        line(below, &format!("  {condition}"));
    }
    line(below, &format!("  {}", supervision(handler).join("; ")));
    let mut targets: Vec<String> = sinks_of(handler).map(str::to_owned).collect();
    if sends_round(handler) {
        targets.push(round(wiring, handler));
    }
    line(
        below,
        &format!("  {} → {}", results(handler), targets.join(", ")),
    );
}

/// Who gets what goes round again.
fn round(wiring: &Wiring<'_>, handler: &HandlerConfig) -> String {
    let Emits::Type(emitted) = &handler.emits else {
        return "router".to_owned();
    };
    let wanting = wiring.wanting(emitted);
    let names: Vec<&str> = wanting
        .iter()
        .map(|handler| handler.name.as_str())
        .collect();
    match names.is_empty() {
        true => format!("router (no handler: {})", wiring.unmatched()),
        false => format!("router (to {})", names.join(", ")),
    }
}
