//! The `veltrix` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    veltrix::Veltrix::new().main()
}
