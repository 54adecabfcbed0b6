//! Whether two programs wrote the same lines, whatever their order: the pipeline promises order per key,
//! the straight-line program has order of the file.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use anyhow::{Context, bail};

use crate::line_reader::LineReader;

/// A file's lines as a multiset: count, bytes, and the sum of their hashes.
#[derive(Debug, PartialEq, Eq, Default, Clone, Copy)]
pub(crate) struct Lines {
    pub(crate) count: u64,
    bytes: u64,
    hash_sum: u64,
}

impl Lines {
    /// Reads a file's lines.
    pub(crate) fn of(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut reader = LineReader::new(file);
        let mut lines = Self::default();
        while let Some(line) = reader.next_line()? {
            lines.add(line);
        }
        Ok(lines)
    }

    fn add(&mut self, line: &[u8]) {
        let mut hasher = DefaultHasher::new();
        hasher.write(line);
        self.count += 1;
        self.bytes += line.len() as u64;
        self.hash_sum = self.hash_sum.wrapping_add(hasher.finish());
    }
}

/// The number of lines in all files of `names`, which must hold the same in both folders.
pub(crate) fn compare(expected: &Path, actual: &Path, names: &[&str]) -> anyhow::Result<u64> {
    let mut count = 0;
    for name in names {
        let file = format!("{name}.ndjson");
        let (expected, actual) = (
            Lines::of(&expected.join(&file))?,
            Lines::of(&actual.join(&file))?,
        );
        if expected != actual {
            bail!("{file} differs: {expected:?} expected, {actual:?} found");
        }
        count += expected.count;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(of: &[&str]) -> Lines {
        let mut lines = Lines::default();
        for line in of {
            lines.add(line.as_bytes());
        }
        lines
    }

    #[test]
    fn order_does_not_matter_and_all_else_does() {
        assert_eq!(lines(&["a", "b", "b"]), lines(&["b", "a", "b"]));
        assert_ne!(lines(&["a", "b", "b"]), lines(&["a", "a", "b"]));
        assert_ne!(lines(&["a", "b"]), lines(&["a"]));
        assert_ne!(lines(&["ab"]), lines(&["a", "b"]));
    }
}
