//! The CEL functions that expressions may call, built once for the process: building CEL's default context takes 31 µs (FACTS 5).
//!
//! Beside CEL's own and its string, math, list and encoder extensions, it has the promoting operators that the compiler puts in place
//! of CEL's arithmetic and ordering. Their names start with `@`, which no expression can write.

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use cel::common::ast::operators;
use cel::common::types::{CelBool, CelString, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError, extensions};

use super::arithmetic::{self, Operator};
use super::value::{boxed_number, number_of};

/// The function name under which the promoting operators report their errors.
pub(crate) const PROMOTED: &str = "@promoted";

static ENVIRONMENT: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(build().expect("every function is declared once")));

/// The environment of every expression.
pub(crate) fn environment() -> &'static Arc<Env> {
    &ENVIRONMENT
}

/// The promoting function for a CEL operator; `None` for operators that are right as they are.
pub(crate) fn promoted_name(operator: &str) -> Option<&'static str> {
    Some(match operator {
        operators::ADD => "@add",
        operators::SUBSTRACT => "@subtract",
        operators::MULTIPLY => "@multiply",
        operators::DIVIDE => "@divide",
        operators::MODULO => "@remainder",
        operators::LESS => "@less",
        operators::LESS_EQUALS => "@less_equals",
        operators::GREATER => "@greater",
        operators::GREATER_EQUALS => "@greater_equals",
        _ => return None,
    })
}

/// Whether the text is an RFC 3339 time, as CEL reads one.
pub(crate) fn is_timestamp(text: &str) -> bool {
    let args = vec![CowVal::owned(CelString::from(text))];
    environment()
        .find_overload("timestamp", &args)
        .is_some_and(|convert| convert(args).is_ok())
}

fn build() -> Result<Env, DeclarationError> {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings)?;
    env.add_extension(extensions::math)?;
    env.add_extension(extensions::lists)?;
    env.add_extension(extensions::encoders)?;
    let operands = || vec![DYN_TYPE, DYN_TYPE];
    env.add_overload("@add", "@add", operands(), |args| {
        calculate(Operator::Add, args)
    })?;
    env.add_overload("@subtract", "@subtract", operands(), |args| {
        calculate(Operator::Subtract, args)
    })?;
    env.add_overload("@multiply", "@multiply", operands(), |args| {
        calculate(Operator::Multiply, args)
    })?;
    env.add_overload("@divide", "@divide", operands(), |args| {
        calculate(Operator::Divide, args)
    })?;
    env.add_overload("@remainder", "@remainder", operands(), |args| {
        calculate(Operator::Remainder, args)
    })?;
    env.add_overload("@less", "@less", operands(), |args| {
        order(args, Ordering::is_lt)
    })?;
    env.add_overload("@less_equals", "@less_equals", operands(), |args| {
        order(args, Ordering::is_le)
    })?;
    env.add_overload("@greater", "@greater", operands(), |args| {
        order(args, Ordering::is_gt)
    })?;
    env.add_overload("@greater_equals", "@greater_equals", operands(), |args| {
        order(args, Ordering::is_ge)
    })?;
    Ok(env)
}

/// `left operator right` for any values: numbers promote, the rest is CEL's own.
pub(crate) fn calculate<'b, 'v>(
    operator: Operator,
    args: Vec<CowVal<'b, 'v>>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [left, right] = args.as_slice() else {
        return Err(ExecutionError::invalid_argument_count(2, args.len()));
    };
    if let (Some(a), Some(b)) = (number_of(left.as_ref()), number_of(right.as_ref())) {
        return arithmetic::apply(operator, a, b)
            .map(|number| CowVal::Owned(boxed_number(number)))
            .map_err(|error| ExecutionError::function_error(PROMOTED, error));
    }
    let refused = || {
        let (left, right) = (left.get_type().name(), right.get_type().name());
        ExecutionError::function_error(
            PROMOTED,
            format!("no operator {} for {left} and {right}", operator.symbol()),
        )
    };
    let result = match operator {
        Operator::Add => left.as_adder().ok_or_else(refused)?.add(right.as_ref()),
        Operator::Subtract => left
            .as_subtractor()
            .ok_or_else(refused)?
            .sub(right.as_ref()),
        Operator::Multiply | Operator::Divide | Operator::Remainder => return Err(refused()),
    };
    match result {
        Ok(value) => Ok(CowVal::Owned(value.into_owned())),
        Err(overflow @ ExecutionError::Overflow(..)) => Err(overflow),
        Err(_) => Err(refused()),
    }
}

/// The order of two values, numbers by value whatever their types.
pub(crate) fn ordering(left: &dyn Val, right: &dyn Val) -> Result<Ordering, ExecutionError> {
    let ordering = match (number_of(left), number_of(right)) {
        (Some(a), Some(b)) => arithmetic::compare(a, b),
        _ => left
            .as_comparer()
            .and_then(|comparer| comparer.compare(right).ok()),
    };
    ordering.ok_or_else(|| {
        let (left, right) = (left.get_type().name(), right.get_type().name());
        ExecutionError::function_error(PROMOTED, format!("cannot order {left} and {right}"))
    })
}

fn order<'b, 'v>(
    args: Vec<CowVal<'b, 'v>>,
    holds: fn(Ordering) -> bool,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [left, right] = args.as_slice() else {
        return Err(ExecutionError::invalid_argument_count(2, args.len()));
    };
    ordering(left.as_ref(), right.as_ref())
        .map(|ordering| CowVal::owned(CelBool::from(holds(ordering))))
}
