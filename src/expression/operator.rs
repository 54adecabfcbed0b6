//! CEL's binary operators, as the nodes that evaluate them.

use cel::common::ast::operators;

use super::arithmetic::Operator;
use super::node::{Comparison, Node};

/// A binary operator that is evaluated without CEL.
pub(super) enum Binary {
    Arithmetic(Operator),
    Order(Comparison),
    Equals(bool),
    And,
    Or,
}

impl Binary {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            operators::ADD => Self::Arithmetic(Operator::Add),
            operators::SUBSTRACT => Self::Arithmetic(Operator::Subtract),
            operators::MULTIPLY => Self::Arithmetic(Operator::Multiply),
            operators::DIVIDE => Self::Arithmetic(Operator::Divide),
            operators::MODULO => Self::Arithmetic(Operator::Remainder),
            operators::LESS => Self::Order(Comparison::Less),
            operators::LESS_EQUALS => Self::Order(Comparison::LessEquals),
            operators::GREATER => Self::Order(Comparison::Greater),
            operators::GREATER_EQUALS => Self::Order(Comparison::GreaterEquals),
            operators::EQUALS => Self::Equals(true),
            operators::NOT_EQUALS => Self::Equals(false),
            operators::LOGICAL_AND => Self::And,
            operators::LOGICAL_OR => Self::Or,
            _ => return None,
        })
    }

    pub(super) fn node(self, sides: Box<[Node; 2]>) -> Node {
        match self {
            Self::Arithmetic(operator) => Node::Arithmetic(operator, sides),
            Self::Order(comparison) => Node::Order(comparison, sides),
            Self::Equals(expected) => Node::Equals { expected, sides },
            Self::And => Node::And(sides),
            Self::Or => Node::Or(sides),
        }
    }
}
