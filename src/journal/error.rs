//! What can go wrong with a log.

use std::io;

use super::segment::FORMAT_VERSION;

/// Why a log cannot be opened. Damage is never a reason, but what cannot be read is not known to be damaged.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be read, or what is left in it not be brought to the disk.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// A newer program wrote it.
    #[error(
        "{name} has format version {version}, this program reads up to {FORMAT_VERSION}: use the program that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The file.
        name: String,
        /// Its version.
        version: u32,
    },
}

impl OpenError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// A write or a sync failed: what the file then holds is unknown, so the log takes nothing more and syncs nothing again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is sealed: {reason}")]
pub struct Sealed {
    /// What failed first.
    pub reason: String,
}

/// Why a record was not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No room for the next segment. Nothing was written, and a later append tries again.
    #[error("no space for the next segment: {reason}")]
    Full {
        /// The system's words.
        reason: String,
    },
    /// The record would exceed `RECORD_BYTES_MAX`, or its tag 65,535 bytes.
    #[error("a record of {bytes} bytes is too large")]
    TooLarge {
        /// Bytes of the whole record.
        bytes: u64,
    },
    /// As the type says.
    #[error(transparent)]
    Sealed(#[from] Sealed),
}

/// A segment that should be there cannot be opened (too many open files, say); nothing is known of its records.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {name}: {source}")]
pub struct ReadError {
    /// The segment.
    pub name: String,
    /// The system's error.
    pub source: io::Error,
}
