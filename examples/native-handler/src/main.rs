//! A Veltrix process with a handler written in Rust: `type: fraud-check` flags payments above a limit.
//!
//! Run it as the `veltrix` binary: `cargo run -p native-handler -- run -c examples/native-handler/veltrix.yaml`.

use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Deserialize;
use veltrix::{Event, Handler, HandlerError, Output, Veltrix};

/// Options of `type: fraud-check`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FraudCheckOptions {
    /// Amounts above this many cents are flagged.
    limit_cents: u64,
}

/// The part of a payment's data that the check needs; serde skips the rest.
#[derive(Deserialize)]
struct Payment {
    amount_cents: u64,
}

struct FraudCheck {
    limit_cents: u64,
}

impl Handler for FraudCheck {
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        let data = event
            .data()
            .ok_or_else(|| HandlerError::permanent("the payment has no data"))?;
        let payment: Payment = serde_json::from_str(data)
            .map_err(|error| HandlerError::permanent(format!("no payment: {error}")))?;
        if payment.amount_cents <= self.limit_cents {
            return Ok(());
        }
        // A derived result: its id, cause and correlation are filled in.
        out.emit("payment.flagged", data)
    }
}

fn main() -> ExitCode {
    Veltrix::new()
        .handler(
            "fraud-check",
            "Flags payments above a limit",
            |options: &FraudCheckOptions| {
                Ok(FraudCheck {
                    limit_cents: options.limit_cents,
                })
            },
        )
        .main()
}

#[cfg(test)]
mod tests {
    use super::*;
    use veltrix::Trial;

    #[test]
    fn large_payments_are_flagged() {
        let payment = |cents: u64| {
            format!(
                r#"{{"specversion":"1.0","id":"7","source":"/shop","type":"order.paid","data":{{"amount_cents":{cents}}}}}"#
            )
        };
        let mut trial = Trial::new("shop", "fraud");
        let mut check = FraudCheck { limit_cents: 1_000 };
        let small = trial
            .handle(&mut check, &payment(1_000))
            .expect("it is a payment");
        assert!(small.lines.is_empty());
        let large = trial
            .handle(&mut check, &payment(1_001))
            .expect("it is a payment");
        assert!(large.lines[0].contains(r#""type":"payment.flagged""#));
    }
}
