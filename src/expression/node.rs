//! A compiled expression. Operators on scalars are evaluated here, over the bytes of the event and without an allocation; anything
//! else (functions, macros, list and map literals) is a call into CEL.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use cel::common::value::CowVal;
use cel::{Context, ExecutionError, IdedExpr};
use regex::Regex;

use super::arithmetic::{self, Number, Operator};
use super::bindings::Bindings;
use super::environment::{self, PROMOTED, environment};
use super::error::EvaluationError;
use super::value::Value;

/// A scalar written in the expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
}

/// An ordering operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessEquals,
    Greater,
    GreaterEquals,
}

impl Comparison {
    fn holds(self) -> fn(Ordering) -> bool {
        match self {
            Self::Less => Ordering::is_lt,
            Self::LessEquals => Ordering::is_le,
            Self::Greater => Ordering::is_gt,
            Self::GreaterEquals => Ordering::is_ge,
        }
    }
}

/// A node of the tree.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Constant(Constant),
    Slot(usize),
    /// `has(path)`.
    Present(usize),
    Not(Box<Node>),
    Arithmetic(Operator, Box<[Node; 2]>),
    Order(Comparison, Box<[Node; 2]>),
    Equals {
        expected: bool,
        sides: Box<[Node; 2]>,
    },
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Conditional(Box<[Node; 3]>),
    /// `x.matches('...')`: CEL would compile the regular expression anew for each event.
    Matches(Box<(Node, Regex)>),
    Cel(Box<IdedExpr>),
}

impl Node {
    /// The value over one event.
    pub(crate) fn evaluate<'b>(
        &'b self,
        bindings: &'b Bindings<'_>,
    ) -> Result<Value<'b>, EvaluationError> {
        match self {
            Self::Constant(constant) => Ok(constant.value()),
            Self::Slot(slot) => Value::from_json(bindings.require(*slot)?),
            Self::Present(slot) => Ok(Value::Bool(bindings.raw(*slot).is_some())),
            Self::Not(operand) => operand
                .truth(bindings, "!")
                .map(|holds| Value::Bool(!holds)),
            Self::Arithmetic(operator, sides) => {
                let [left, right] = &**sides;
                calculate(
                    *operator,
                    left.evaluate(bindings)?,
                    right.evaluate(bindings)?,
                )
            }
            Self::Order(comparison, sides) => {
                let [left, right] = &**sides;
                order(
                    *comparison,
                    left.evaluate(bindings)?,
                    right.evaluate(bindings)?,
                )
                .map(Value::Bool)
            }
            Self::Equals { expected, sides } => {
                let [left, right] = &**sides;
                let equal = equals(left.evaluate(bindings)?, right.evaluate(bindings)?)?;
                Ok(Value::Bool(equal == *expected))
            }
            Self::And(sides) => connect(sides, bindings, "&&", false),
            Self::Or(sides) => connect(sides, bindings, "||", true),
            Self::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                if condition.truth(bindings, "?:")? {
                    then.evaluate(bindings)
                } else {
                    otherwise.evaluate(bindings)
                }
            }
            Self::Matches(parts) => {
                let (operand, pattern) = &**parts;
                match operand.evaluate(bindings)? {
                    Value::Text(text) => Ok(Value::Bool(pattern.is_match(&text))),
                    other => Err(EvaluationError::failed(format!(
                        "matches needs a string, not {}",
                        other.type_name()
                    ))),
                }
            }
            Self::Cel(expression) => call(expression, bindings),
        }
    }

    /// The value as a bool, which `of` (an operator or a key) needs.
    pub(crate) fn truth(&self, bindings: &Bindings<'_>, of: &str) -> Result<bool, EvaluationError> {
        match self.evaluate(bindings)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(EvaluationError::failed(format!(
                "{of} needs a bool, not {}",
                other.type_name()
            ))),
        }
    }
}

impl Constant {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(value) => Value::Number(*value),
            Self::Text(value) => Value::Text(Cow::Borrowed(value)),
        }
    }
}

/// `&&` and `||` as CEL has them: the side that decides wins even over an error on the other side.
fn connect<'b>(
    sides: &'b [Node; 2],
    bindings: &'b Bindings<'_>,
    operator: &str,
    deciding: bool,
) -> Result<Value<'b>, EvaluationError> {
    let left = sides[0].truth(bindings, operator);
    if left == Ok(deciding) {
        return Ok(Value::Bool(deciding));
    }
    let right = sides[1].truth(bindings, operator);
    if right == Ok(deciding) {
        return Ok(Value::Bool(deciding));
    }
    left.and(right).map(Value::Bool)
}

fn calculate<'b>(
    operator: Operator,
    left: Value<'b>,
    right: Value<'b>,
) -> Result<Value<'b>, EvaluationError> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => arithmetic::apply(operator, a, b)
            .map(Value::Number)
            .map_err(|error| EvaluationError::failed(error.to_string())),
        (Value::Text(a), Value::Text(b)) if operator == Operator::Add => {
            let mut text = String::with_capacity(a.len() + b.len());
            text.push_str(&a);
            text.push_str(&b);
            Ok(Value::Text(Cow::Owned(text)))
        }
        (left, right) => {
            let operands = vec![
                CowVal::Owned(left.into_cel()?),
                CowVal::Owned(right.into_cel()?),
            ];
            let result = environment::calculate(operator, operands)
                .map_err(|error| translate(error, None))?;
            Ok(Value::from_cel(result.into_owned()))
        }
    }
}

fn order(
    comparison: Comparison,
    left: Value<'_>,
    right: Value<'_>,
) -> Result<bool, EvaluationError> {
    let holds = comparison.holds();
    match (&left, &right) {
        (Value::Number(a), Value::Number(b)) => arithmetic::compare(*a, *b)
            .map(holds)
            .ok_or_else(|| EvaluationError::failed(format!("cannot order {a} and {b}"))),
        (Value::Text(a), Value::Text(b)) => Ok(holds(a.cmp(b))),
        _ => {
            let (left, right) = (left.into_cel()?, right.into_cel()?);
            environment::ordering(left.as_ref(), right.as_ref())
                .map(holds)
                .map_err(|error| translate(error, None))
        }
    }
}

fn equals(left: Value<'_>, right: Value<'_>) -> Result<bool, EvaluationError> {
    Ok(match (left, right) {
        (Value::Number(a), Value::Number(b)) => arithmetic::compare(a, b) == Some(Ordering::Equal),
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Null, Value::Null) => true,
        (left, right) => left.into_cel()?.equals(right.into_cel()?.as_ref()),
    })
}

fn call<'b>(
    expression: &'b IdedExpr,
    bindings: &'b Bindings<'_>,
) -> Result<Value<'b>, EvaluationError> {
    let mut context = Context::with_env(Arc::clone(environment()));
    context.set_variable_resolver(bindings);
    match cel::Value::resolve_val(expression, &context) {
        Ok(value) => Ok(Value::from_cel(value.into_owned())),
        Err(error) => Err(translate(error, Some(bindings))),
    }
}

fn translate(error: ExecutionError, bindings: Option<&Bindings<'_>>) -> EvaluationError {
    match error {
        ExecutionError::UndeclaredReference(name) => bindings
            .and_then(|bindings| bindings.unresolved(&name))
            .unwrap_or_else(|| EvaluationError::failed(format!("unknown name '{name}'"))),
        ExecutionError::NoSuchKey(key) => EvaluationError::Missing(key.as_str().into()),
        ExecutionError::IndexOutOfBounds(index) => {
            EvaluationError::Missing(format!("element {index:?}").into())
        }
        ExecutionError::FunctionError { function, message } if function == PROMOTED => {
            EvaluationError::Failed(message)
        }
        other => EvaluationError::Failed(other.to_string()),
    }
}
