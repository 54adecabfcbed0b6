//! CEL expressions over events: conditions, computed fields and the envelopes of plain lines.
//!
//! CEL parses them and runs their functions and macros. What it does slowly or differently is done here: paths are read from the
//! event's bytes, and numbers promote (FACTS 5).

mod arithmetic;
mod bindings;
mod chain;
mod compile;
mod condition;
mod envelope;
mod environment;
mod error;
mod locate;
mod lower;
mod node;
mod operator;
mod path;
mod regular;
mod static_type;
#[cfg(test)]
mod tests;
mod value;
mod write;

pub(crate) use bindings::{Bindings, EventView, Slots};
pub(crate) use chain::is_attribute_name;
pub(crate) use compile::{Compiler, Scope};
pub(crate) use condition::{Condition, Verdict};
pub(crate) use envelope::EnvelopeExpressions;
pub(crate) use environment::is_timestamp;
pub(crate) use error::{EvaluationError, ExpressionError};
pub(crate) use locate::{Located, Member, NodeId, PathTrie};
pub(crate) use path::{Path, Segment};
pub(crate) use value::Value;
pub(crate) use veltrix_actors::json_scan::{
    Malformed, MemberStep, ObjectCursor, Span, kind_of, skip_value, skip_whitespace, unescape,
};
pub(crate) use write::write_text;

use crate::config::Purpose;
use node::Node;

/// Whether `text` is an expression that can be what it is for.
pub(crate) fn check(text: &str, purpose: Purpose) -> Result<(), String> {
    let compiled = match purpose {
        Purpose::Condition => Compiler::new(Scope::Event).compile_condition(text),
        Purpose::Attribute => Compiler::new(Scope::Line).compile_attribute(text),
    };
    compiled.map(drop).map_err(|error| error.to_string())
}

/// A compiled expression; it reads the slots of the [`Compiler`] that made it.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    root: Node,
    reads_paths: bool,
}

impl Expression {
    /// Whether it reads more than attributes, so that the event's data must be located first.
    pub(crate) fn reads_paths(&self) -> bool {
        self.reads_paths
    }

    /// The value over the event that `bindings` are bound to.
    pub(crate) fn evaluate<'b>(
        &'b self,
        bindings: &'b Bindings<'_>,
    ) -> Result<Value<'b>, EvaluationError> {
        self.root.evaluate(bindings)
    }

    /// Whether the expression holds; anything but a bool is an error.
    pub(crate) fn holds(&self, bindings: &Bindings<'_>) -> Result<bool, EvaluationError> {
        self.root.truth(bindings, "a condition")
    }

    /// Appends the value's JSON text to `out`. A path on its own is copied as it stands, so `1.10` stays `1.10`.
    pub(crate) fn write_json(
        &self,
        bindings: &Bindings<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), EvaluationError> {
        if let Node::Slot(slot) = &self.root {
            out.extend_from_slice(bindings.require(*slot)?.as_bytes());
            return Ok(());
        }
        write::write_json(&self.evaluate(bindings)?, out)
    }
}
