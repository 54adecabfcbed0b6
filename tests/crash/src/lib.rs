//! The crash harness: the real Veltrix under load, killed, without power, with a full disk or a sink that is down, and
//! whether it kept what it had accepted.
//!
//! `Stage` is one round; `kill`, `power`, `sigterm`, `disk_full` and `sink_down` are what happens in one; `checker`
//! judges it.

mod arrivals;
mod blows;
mod checker;
mod client;
mod dice;
mod disk_full;
mod fleet;
mod ground;
mod journal;
mod layout;
mod probe;
mod process;
mod receiver;
mod report;
mod setup;
mod sigterm;
mod sink_down;
mod stage;
mod tail;
mod volume;
mod wire;
mod workload;

pub use blows::{Blows, kill, power};
pub use disk_full::disk_full;
pub use ground::Ground;
pub use journal::unfinished_events;
pub use report::{Report, SinkTotals, Times, Violation};
pub use setup::{Durability, Setup, Wiring};
pub use sigterm::{Stops, sigterm};
pub use sink_down::{Outage, sink_down};
pub use stage::Load;
pub use volume::{FileSystem, Volume};
