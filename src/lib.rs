//! The Veltrix service: config, components, admin and the running tree.

#[expect(
    dead_code,
    unused_imports,
    reason = "the components that use expressions are being wired in"
)]
mod expression;
#[cfg_attr(
    not(test),
    expect(unused_imports, reason = "the table of handlers is being wired in")
)]
#[expect(dead_code, reason = "the table of handlers is being wired in")]
mod handlers;
