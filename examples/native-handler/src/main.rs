//! A Veltrix process with a handler written in Rust.

fn main() {}
