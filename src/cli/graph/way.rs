//! The way of one event type as a tree for a terminal.

use std::collections::BTreeSet;

use super::text::{LAST, MIDDLE};
use super::wiring::{Wiring, may_be_unmatched, sends_round, sinks_of};
use crate::config::{Emits, HandlerConfig};

pub(super) fn draw(wiring: &Wiring<'_>, event_type: &str) -> String {
    let mut way = Way {
        wiring,
        seen: BTreeSet::from([event_type.to_owned()]),
        text: format!("{event_type}\n"),
    };
    way.draw_type(event_type, "");
    way.text
}

struct Way<'a> {
    wiring: &'a Wiring<'a>,
    /// Types whose way is drawn already.
    seen: BTreeSet<String>,
    text: String,
}

impl Way<'_> {
    fn draw_type(&mut self, event_type: &str, indent: &str) {
        let wanting = self.wiring.wanting(event_type);
        let rest = may_be_unmatched(&wanting).then(|| {
            let when = if wanting.is_empty() {
                "no handler wants it"
            } else {
                "if no condition holds"
            };
            format!("{when} → {}", self.wiring.unmatched())
        });
        for (at, handler) in wanting.iter().enumerate() {
            let is_last = at + 1 == wanting.len() && rest.is_none();
            let (branch, below) = if is_last { LAST } else { MIDDLE };
            self.line(indent, branch, &self.about(handler, event_type));
            self.draw_results(handler, event_type, &format!("{indent}{below}"));
        }
        if let Some(rest) = rest {
            self.line(indent, LAST.0, &rest);
        }
    }

    /// `price-order (map, 4 lanes by subject, on order.*, when data.quantity > 0)`
    fn about(&self, handler: &HandlerConfig, event_type: &str) -> String {
        let mut parts = vec![self.wiring.handler(handler)];
        let pattern = handler
            .on
            .iter()
            .find(|pattern| pattern.matches(event_type));
        parts.extend(pattern.map(|pattern| format!("on {pattern}")));
        parts.extend(self.wiring.condition(handler));
        format!("{} ({})", handler.name, parts.join(", "))
    }

    fn draw_results(&mut self, handler: &HandlerConfig, event_type: &str, indent: &str) {
        let emitted = match &handler.emits {
            Emits::Type(emitted) => emitted.as_str(),
            Emits::Same => event_type,
            Emits::Unknown => "its answers",
        };
        let mut targets: Vec<&str> = sinks_of(handler).collect();
        if sends_round(handler) {
            targets.push("router");
        }
        let mut line = format!("{emitted} → {}", targets.join(", "));
        let is_known = matches!(handler.emits, Emits::Type(_));
        let goes_on = sends_round(handler) && is_known;
        let is_new = goes_on && self.seen.insert(emitted.to_owned());
        if goes_on && !is_new {
            line.push_str(" (as above)");
        } else if sends_round(handler) && !is_known {
            line.push_str(" (to whoever wants their type)");
        }
        self.line(indent, LAST.0, &line);
        if is_new {
            self.draw_type(emitted, &format!("{indent}{}", LAST.1));
        }
    }

    fn line(&mut self, indent: &str, branch: &str, rest: &str) {
        self.text.push_str(&format!("{indent}{branch}{rest}\n"));
    }
}
