//! The config: only its units on this branch.

pub(crate) mod units;
