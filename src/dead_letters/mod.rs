//! Dead letters on disk: a log of their own, and an index over it in memory that each start makes anew.
//!
//! `docs/adr/0011-dead-letters-in-a-log.md` says why.

mod answer;
mod filter;
mod index;
mod record;
mod store;

pub(crate) use answer::page_as_json;
pub(crate) use filter::{FILTERS, filter, time};
pub(crate) use store::{DiskDeadLetters, FOLDER};
