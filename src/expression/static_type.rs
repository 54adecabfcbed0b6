//! The type of an expression's value, as far as it can be known before any event comes, and the operators that can never work.

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue};

use super::arithmetic::Operator;
use super::bindings::{Slot, SlotSource};
use super::node::{Constant, Node};

/// Attributes that CloudEvents 1.0 has as text; an extension may also be a boolean or a number.
const TEXT_ATTRIBUTES: [&str; 8] = [
    "id",
    "source",
    "type",
    "subject",
    "time",
    "specversion",
    "datacontenttype",
    "dataschema",
];

/// A type of CEL; its kinds of numbers are one here, since they promote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StaticType {
    Null,
    Bool,
    Number,
    Text,
    Bytes,
    List,
    Map,
    Timestamp,
    Duration,
}

impl StaticType {
    /// With its article, for messages.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a bool",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Bytes => "bytes",
            Self::List => "a list",
            Self::Map => "a map",
            Self::Timestamp => "a timestamp",
            Self::Duration => "a duration",
        }
    }

    fn is_time(self) -> bool {
        matches!(self, Self::Timestamp | Self::Duration)
    }
}

/// What is known of the type of `node`'s value.
///
/// # Errors
/// An operator whose operands can never be right, whatever the event.
pub(super) fn of(node: &Node, slots: &[Slot]) -> Result<Option<StaticType>, String> {
    let side = |node: &Node| of(node, slots);
    match node {
        Node::Constant(constant) => Ok(Some(of_constant(constant))),
        Node::Slot(slot) => Ok(slots.get(*slot).and_then(of_slot)),
        Node::Present(_) => Ok(Some(StaticType::Bool)),
        Node::Matches(parts) => match side(&parts.0)? {
            None | Some(StaticType::Text) => Ok(Some(StaticType::Bool)),
            Some(other) => Err(format!(
                "`matches` needs a string, not {}",
                other.in_words()
            )),
        },
        Node::Not(operand) => needs_bool("!", side(operand)?),
        Node::And(sides) => both_bool("&&", [side(&sides[0])?, side(&sides[1])?]),
        Node::Or(sides) => both_bool("||", [side(&sides[0])?, side(&sides[1])?]),
        Node::Arithmetic(operator, sides) => {
            arithmetic(*operator, side(&sides[0])?, side(&sides[1])?)
        }
        Node::Order(_, sides) => order(side(&sides[0])?, side(&sides[1])?),
        Node::Equals { sides, .. } => equals(side(&sides[0])?, side(&sides[1])?),
        Node::Conditional(parts) => {
            needs_bool("?:", side(&parts[0])?)?;
            let (then, otherwise) = (side(&parts[1])?, side(&parts[2])?);
            Ok(then.filter(|_| then == otherwise))
        }
        Node::Cel(expression) => Ok(of_call(expression)),
    }
}

fn of_constant(constant: &Constant) -> StaticType {
    match constant {
        Constant::Null => StaticType::Null,
        Constant::Bool(_) => StaticType::Bool,
        Constant::Number(_) => StaticType::Number,
        Constant::Text(_) => StaticType::Text,
    }
}

fn of_slot(slot: &Slot) -> Option<StaticType> {
    match &slot.source {
        SlotSource::Attribute(name) if TEXT_ATTRIBUTES.contains(&&**name) => Some(StaticType::Text),
        SlotSource::Attribute(_) | SlotSource::Path(_) => None,
    }
}

/// What CEL evaluates: functions whose result does not depend on their arguments, and literals.
fn of_call(expression: &IdedExpr) -> Option<StaticType> {
    match &expression.expr {
        Expr::List(_) => Some(StaticType::List),
        Expr::Map(_) => Some(StaticType::Map),
        Expr::Literal(LiteralValue::Bytes(_)) => Some(StaticType::Bytes),
        Expr::Call(call) => of_function(&call.func_name),
        _ => None,
    }
}

fn of_function(name: &str) -> Option<StaticType> {
    Some(match name {
        "size" | "int" | "uint" | "double" | "indexOf" | "lastIndexOf" => StaticType::Number,
        "string" | "lowerAscii" | "upperAscii" | "trim" | "replace" | "substring" | "charAt" => {
            StaticType::Text
        }
        "contains" | "startsWith" | "endsWith" | "matches" => StaticType::Bool,
        "bytes" => StaticType::Bytes,
        "split" => StaticType::List,
        "timestamp" => StaticType::Timestamp,
        "duration" => StaticType::Duration,
        _ => return None,
    })
}

fn needs_bool(operator: &str, found: Option<StaticType>) -> Result<Option<StaticType>, String> {
    match found {
        None | Some(StaticType::Bool) => Ok(Some(StaticType::Bool)),
        Some(other) => Err(format!(
            "`{operator}` needs a bool, not {}",
            other.in_words()
        )),
    }
}

fn both_bool(operator: &str, sides: [Option<StaticType>; 2]) -> Result<Option<StaticType>, String> {
    needs_bool(operator, sides[0])?;
    needs_bool(operator, sides[1])
}

fn arithmetic(
    operator: Operator,
    left: Option<StaticType>,
    right: Option<StaticType>,
) -> Result<Option<StaticType>, String> {
    let never = [StaticType::Null, StaticType::Bool, StaticType::Map];
    if let Some(wrong) = [left, right]
        .into_iter()
        .flatten()
        .find(|side| never.contains(side))
    {
        return Err(format!("there is no arithmetic with {}", wrong.in_words()));
    }
    let joins = [StaticType::Text, StaticType::Bytes, StaticType::List];
    if let Some(wrong) = [left, right]
        .into_iter()
        .flatten()
        .find(|side| joins.contains(side))
        && operator != Operator::Add
    {
        return Err(format!("{} can only be joined by `+`", wrong.in_words()));
    }
    match (left, right) {
        // times have an arithmetic of their own, and what is not known may be one
        (Some(left), Some(right)) if left.is_time() || right.is_time() => Ok(None),
        (Some(left), Some(right)) if left != right => Err(format!(
            "there is no arithmetic between {} and {}",
            left.in_words(),
            right.in_words()
        )),
        (Some(known), _) | (_, Some(known)) if !known.is_time() => Ok(Some(known)),
        _ => Ok(None),
    }
}

fn order(
    left: Option<StaticType>,
    right: Option<StaticType>,
) -> Result<Option<StaticType>, String> {
    match (left, right) {
        (Some(left), Some(right)) if left != right => Err(format!(
            "{} and {} have no order",
            left.in_words(),
            right.in_words()
        )),
        _ => Ok(Some(StaticType::Bool)),
    }
}

fn equals(
    left: Option<StaticType>,
    right: Option<StaticType>,
) -> Result<Option<StaticType>, String> {
    match (left, right) {
        (Some(left), Some(right)) if left != right => Err(format!(
            "{} and {} are never equal",
            left.in_words(),
            right.in_words()
        )),
        _ => Ok(Some(StaticType::Bool)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compiler, Scope};

    fn condition(text: &str) -> Result<(), String> {
        let compiled = Compiler::new(Scope::Event).compile_condition(text);
        compiled.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn what_may_be_a_bool_is_a_condition() {
        for text in [
            "data.ok",
            "data.a > 1 && has(data.b)",
            "tenant == 5",
            "subject.startsWith('c-')",
            "data.items.exists(x, x > 1)",
            "type in ['a', 'b']",
            "data.a ? data.b : true",
            "timestamp(time) - duration('1h') < timestamp('2026-01-01T00:00:00Z')",
            "size(data.text) + 1 > 2",
            "data.a == null",
            "math.isNaN(data.x)",
        ] {
            assert_eq!(condition(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_can_never_be_a_bool_is_none() {
        for (text, why) in [
            (
                "data.a + 1",
                "a condition must be a bool, and this is a number",
            ),
            (
                "subject",
                "a condition must be a bool, and this is a string",
            ),
            ("'a' && data.b", "`&&` needs a bool, not a string"),
            ("!size(data.a)", "`!` needs a bool, not a number"),
            ("type > 3", "a string and a number have no order"),
            ("subject == 5", "a string and a number are never equal"),
            ("subject == null", "a string and null are never equal"),
            ("(data.a - 'x') > 1", "a string can only be joined by `+`"),
            (
                "1 + 'x' == data.a",
                "there is no arithmetic between a number and a string",
            ),
            ("(data.a + true) > 1", "there is no arithmetic with a bool"),
            (
                "data.a ? 1 : 2",
                "a condition must be a bool, and this is a number",
            ),
            ("[data.a]", "a condition must be a bool, and this is a list"),
            (
                "size(data.a).matches('a')",
                "`matches` needs a string, not a number",
            ),
        ] {
            assert_eq!(condition(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_attribute_is_a_scalar() {
        let attribute = |text: &str| {
            let compiled = Compiler::new(Scope::Line).compile_attribute(text);
            compiled.map(drop).map_err(|error| error.to_string())
        };
        for text in [
            "line.a",
            "'log.' + line.level",
            "string(line.n)",
            "line.n * 2",
            "true",
        ] {
            assert_eq!(attribute(text), Ok(()), "{text}");
        }
        for text in ["null", "[line.a]", "{'a': 1}", "data.a"] {
            assert!(attribute(text).is_err(), "{text}");
        }
    }
}
