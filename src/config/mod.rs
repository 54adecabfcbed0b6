//! The config's vocabulary.

mod units;

pub use self::units::{ByteSize, DurationText, UnitError};
