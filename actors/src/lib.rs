//! Events, batches, credits, supervision, router and the component traits of Veltrix.

mod pattern;

pub use pattern::{PatternError, Segment, TypePattern};
