//! Benchmarks of Veltrix.

fn main() {}
