//! Checks across components: sinks nobody uses, two listeners on one address, two files on one path, loops.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use serde_json::Value;

use super::{
    handler::{Emits, HandlerConfig, Target},
    loops::{self, Emitter, Loop},
    path::KeyPath,
    problems::Reporter,
    service::{self, ServiceConfig},
};

/// Source types whose `listen` must be theirs alone.
const LISTENERS: [&str; 2] = ["http", "tcp"];

/// The strings of a key that takes one or a list.
fn texts<'a>(component: &'a Value, key: &str) -> Vec<&'a str> {
    match component.get(key) {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Warns of sinks that nothing is sent to.
pub(crate) fn unused_sinks(
    sinks: &[&str],
    handlers: &[(&str, &Value)],
    others: &[Option<&str>],
    reporter: &Reporter,
) {
    let used: HashSet<&str> = handlers
        .iter()
        .flat_map(|(_, handler)| texts(handler, "to"))
        .chain(others.iter().copied().flatten())
        .collect();
    for sink in sinks.iter().filter(|sink| !used.contains(**sink)) {
        let help = "name it in a handler's `to`, in `routing.unmatched` or in `dead_letters.also_to`, or remove it".to_owned();
        reporter.warn(
            &KeyPath::of(["sinks", sink]),
            format!("nothing is sent to sink `{sink}`"),
            Some(help),
        );
    }
}

/// Refuses two listeners on one address.
pub(crate) fn listeners(
    sources: &[(&str, &Value)],
    service: Option<&ServiceConfig>,
    reporter: &Reporter,
) {
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    if let Some(admin) = service.and_then(|service| service.admin.as_ref()) {
        taken.push((admin.listen, "service.admin".to_owned()));
    }
    for (name, source) in sources {
        let is_listener = source
            .get("type")
            .and_then(Value::as_str)
            .is_some_and(|kind| LISTENERS.contains(&kind));
        let listen = source
            .get("listen")
            .and_then(Value::as_str)
            .filter(|_| is_listener);
        let Some(address) = listen
            .and_then(service::address)
            .filter(|address| address.port() != 0)
        else {
            continue;
        };
        let path = KeyPath::of(["sources", name]);
        match taken.iter().find(|(other, _)| collide(*other, address)) {
            Some((_, owner)) => {
                let message =
                    format!("`{path}` listens on {address}, which `{owner}` does already");
                reporter.value(&path.key("listen"), message, None);
            }
            None => taken.push((address, path.to_string())),
        }
    }
}

/// One port, and one address or one that means all.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// Refuses two file sinks that write to one path.
pub(crate) fn file_paths(sinks: &[(&str, &Value)], reporter: &Reporter) {
    let mut taken: HashMap<String, &str> = HashMap::new();
    for (name, sink) in sinks {
        let is_file = sink.get("type").and_then(Value::as_str) == Some("file");
        let Some(file) = sink.get("path").and_then(Value::as_str).filter(|_| is_file) else {
            continue;
        };
        let plain = file
            .split('/')
            .filter(|part| *part != ".")
            .collect::<Vec<_>>()
            .join("/");
        match taken.get(plain.as_str()) {
            Some(owner) => {
                let path = KeyPath::of(["sinks", name]);
                let message =
                    format!("`{path}` writes to `{file}`, which `sinks.{owner}` does already");
                reporter.value(&path.key("path"), message, None);
            }
            None => {
                taken.insert(plain, name);
            }
        }
    }
}

/// Refuses results that would go round for ever.
pub(crate) fn loops(handlers: &[(&HandlerConfig, &Value)], reporter: &Reporter) {
    let to_router = handlers
        .iter()
        .map(|(handler, _)| *handler)
        .filter(|handler| handler.to.contains(&Target::Router));
    let emitters: Vec<Emitter<'_>> = to_router
        .filter_map(|handler| {
            let emits = match &handler.emits {
                Emits::Type(emitted) => Some(emitted.as_str()),
                Emits::Same => None,
                // what a called component answers, nobody knows; `max_hops` ends such loops
                Emits::Unknown => return None,
            };
            Some(Emitter {
                name: &handler.name,
                on: &handler.on,
                emits,
            })
        })
        .collect();
    for found in loops::find(&emitters) {
        match found {
            Loop::PassesOn(name) => {
                let path = KeyPath::of(["handlers", name]);
                let message = format!(
                    "`{path}` sends the events it gets back to itself: no `emit` and `to: router`"
                );
                let help =
                    "give its results another type with `emit`, or send them to a sink".to_owned();
                reporter.value(&path.key("to"), message, Some(help));
            }
            Loop::Through(names) => {
                let path = KeyPath::of(["handlers", names[0]]);
                let way = names
                    .iter()
                    .chain(names.first())
                    .copied()
                    .collect::<Vec<_>>()
                    .join(" -> ");
                let message = format!("results go round for ever: {way}");
                let help = "let one of them emit a type that none of them wants, or send to a sink"
                    .to_owned();
                // only what emits a type can be part of a longer way round
                reporter.value(&path.key("emit"), message, Some(help));
            }
        }
    }
}
