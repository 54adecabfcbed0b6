//! The `when` of a handler: whether it wants an event of its type.

use std::sync::Arc;

use super::Expression;
use super::bindings::{EventView, Slots};
use super::compile::{Compiler, Scope};
use super::error::{EvaluationError, ExpressionError};
use super::locate::Located;

/// What a condition says about an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    Fails,
    /// False, because the event does not have this path; counted apart.
    Missing(Arc<str>),
}

impl Verdict {
    /// The verdict of an evaluated condition: what is missing is false, any other error stays one.
    pub(crate) fn of(result: Result<bool, EvaluationError>) -> Result<Self, EvaluationError> {
        match result {
            Ok(true) => Ok(Self::Holds),
            Ok(false) => Ok(Self::Fails),
            Err(EvaluationError::Missing(path)) => Ok(Self::Missing(path)),
            Err(error) => Err(error),
        }
    }
}

/// A compiled `when`.
#[derive(Debug)]
pub(crate) struct Condition {
    slots: Slots,
    expression: Expression,
}

impl Condition {
    pub(crate) fn compile(text: &str) -> Result<Self, ExpressionError> {
        let mut compiler = Compiler::new(Scope::Event);
        let expression = compiler.compile_condition(text)?;
        Ok(Self {
            slots: compiler.finish(),
            expression,
        })
    }

    /// Judges `event`. `located` is the caller's scratch, kept so that judging allocates nothing.
    pub(crate) fn judge<'a>(
        &self,
        event: &impl EventView<'a>,
        located: &mut Located,
    ) -> Result<Verdict, EvaluationError> {
        let line = event.line();
        let mut paths = None;
        if let (true, Some(data)) = (self.expression.reads_paths(), event.data_span()) {
            located
                .scan(&self.slots.trie, Compiler::DATA, line, data.start)
                .map_err(|error| EvaluationError::failed(error.to_string()))?;
            paths = Some(&*located);
        }
        let bindings = self.slots.bind(line, paths, |name| event.attribute(name));
        Verdict::of(self.expression.holds(&bindings))
    }
}
