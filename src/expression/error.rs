//! What can be wrong with an expression: when it is compiled, and when it is evaluated over an event.

use std::fmt;
use std::sync::Arc;

/// An expression that does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpressionError {
    pub(crate) message: String,
    /// Where in the expression, if CEL says: line and column from 1, in characters.
    pub(crate) position: Option<(usize, usize)>,
}

impl ExpressionError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position: None,
        }
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((1, column)) => write!(
                f,
                "at character {column} of the expression: {}",
                self.message
            ),
            Some((line, column)) => write!(
                f,
                "at line {line}, character {column} of the expression: {}",
                self.message
            ),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ExpressionError {}

/// An expression without a value for this event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EvaluationError {
    /// The event does not have what the expression reads; `when` takes this as false.
    #[error("the event has no '{0}'")]
    Missing(Arc<str>),
    /// Anything else: types that do not fit, overflow, division by zero.
    #[error("{0}")]
    Failed(String),
}

impl EvaluationError {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}
