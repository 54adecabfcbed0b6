//! The `veltrix` binary.

fn main() {}
