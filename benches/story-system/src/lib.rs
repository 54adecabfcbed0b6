//! What the systems of the benchmark `story` share, so that they differ in how events travel and in nothing else: the
//! handlers' work, the codec, the results, the retries, the connection to a sink.

mod component;
mod feed;
mod lanes;
mod outlet;
mod plant;
mod poster;
mod work;
mod worker;

pub use feed::{ComponentOptions, Feed};
pub use plant::Plant;
pub use work::{Failure, LANES, RESULT_TYPE, Work, WorkOptions, expected_sum};
