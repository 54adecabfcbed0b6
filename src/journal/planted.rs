//! The places of bugs on purpose, which show that the simulator finds bugs.
//!
//! A condition there is `false` to every build but that of this crate's own unit tests: neither a feature nor the
//! environment can switch one on. One test build runs them all, each chosen by its name at run time.

/// Whether the unit tests have planted this bug, a variant of `tests::planted::Bug`.
#[cfg(test)]
macro_rules! planted {
    ($bug:ident) => {
        $crate::journal::tests::planted::is_planted($crate::journal::tests::planted::Bug::$bug)
    };
}

/// Never.
#[cfg(not(test))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}
