//! Arithmetic and comparison as the configuration promises them: int with int stays int and overflow is an error; int with double is
//! double. Plain CEL refuses `9.99 * 3`.

use std::cmp::Ordering;
use std::fmt;

/// A number of CEL.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    /// A JSON integer between 2^63 and 2^64 - 1, or CEL's `uint`.
    Unsigned(u64),
    Double(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value:?}"),
        }
    }
}

/// A binary operator of arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// An operation on numbers that has no result.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub(crate) enum ArithmeticError {
    #[error("integer overflow in {left} {} {right}", operator.symbol())]
    Overflow {
        operator: Operator,
        left: Number,
        right: Number,
    },
    #[error("division by zero in {left} {} 0", operator.symbol())]
    DivisionByZero { operator: Operator, left: Number },
    #[error("% needs two ints, not {left} % {right}")]
    RemainderOfDouble { left: Number, right: Number },
}

/// `left operator right`.
#[inline]
pub(crate) fn apply(
    operator: Operator,
    left: Number,
    right: Number,
) -> Result<Number, ArithmeticError> {
    if let (Number::Int(a), Number::Int(b)) = (left, right) {
        let result = match operator {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            Operator::Multiply => a.checked_mul(b),
            Operator::Divide if b != 0 => a.checked_div(b),
            Operator::Remainder if b != 0 => a.checked_rem(b),
            Operator::Divide | Operator::Remainder => {
                return Err(ArithmeticError::DivisionByZero { operator, left });
            }
        };
        return result.map(Number::Int).ok_or(ArithmeticError::Overflow {
            operator,
            left,
            right,
        });
    }
    match (wide(left), wide(right)) {
        (Some(a), Some(b)) => apply_wide(operator, (left, a), (right, b)),
        _ => apply_double(operator, left, right),
    }
}

fn apply_double(
    operator: Operator,
    left: Number,
    right: Number,
) -> Result<Number, ArithmeticError> {
    let (a, b) = (double(left), double(right));
    Ok(Number::Double(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::Remainder => return Err(ArithmeticError::RemainderOfDouble { left, right }),
    }))
}

/// Integers of which one does not fit in an int: exact in 128 bits, an overflow if the result fits neither an int nor a uint.
fn apply_wide(
    operator: Operator,
    (left, a): (Number, i128),
    (right, b): (Number, i128),
) -> Result<Number, ArithmeticError> {
    let result = match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide if b != 0 => a.checked_div(b),
        Operator::Remainder if b != 0 => a.checked_rem(b),
        Operator::Divide | Operator::Remainder => {
            return Err(ArithmeticError::DivisionByZero { operator, left });
        }
    };
    let number = result.and_then(|value| {
        i64::try_from(value)
            .map(Number::Int)
            .or_else(|_| u64::try_from(value).map(Number::Unsigned))
            .ok()
    });
    number.ok_or(ArithmeticError::Overflow {
        operator,
        left,
        right,
    })
}

/// The order of two numbers; `None` if one is NaN.
#[inline]
pub(crate) fn compare(left: Number, right: Number) -> Option<Ordering> {
    match (left, right) {
        (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
        _ => match (wide(left), wide(right)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => double(left).partial_cmp(&double(right)),
        },
    }
}

fn wide(number: Number) -> Option<i128> {
    match number {
        Number::Int(value) => Some(value.into()),
        Number::Unsigned(value) => Some(value.into()),
        Number::Double(_) => None,
    }
}

fn double(number: Number) -> f64 {
    match number {
        Number::Int(value) => value as f64,
        Number::Unsigned(value) => value as f64,
        Number::Double(value) => value,
    }
}
