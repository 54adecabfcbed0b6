//! Newline-delimited input: bytes → chunks of whole lines → events, shared by the sources that read lines.

mod envelope;
mod framer;
mod parser;
mod rejections;

pub(crate) use envelope::{Attributes, EnvelopeFactory, LineAttributes, LineEnvelope};
pub(crate) use framer::{Chunk, EVENT_BYTES_DEFAULT, FIRST_READ_BYTES, Framer};
pub(crate) use parser::{LineError, LineParser};
