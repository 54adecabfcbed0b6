//! The bare loop that the journal is compared with: groups of bytes appended to reserved files, one `fdatasync` each.
//! It removes nothing: a file system that discards what is free would have the next syncs wait for that.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use rustix::fs::FallocateFlags;

/// As the journal's.
const SEGMENT_BYTES: u64 = 64 << 20;
const SYNC_MAX_NS: u64 = 60_000_000_000;

/// What the loop did.
pub(crate) struct Bare {
    pub(crate) groups_per_second: f64,
    /// Nanoseconds of a sync alone, as the journal's counts have it.
    pub(crate) syncs: Histogram<u64>,
}

/// Writes groups of so many bytes into `folder`, each synced before the next one begins, for about as long as that.
pub(crate) fn run(folder: &Path, group_bytes: u64, time: Duration) -> anyhow::Result<Bare> {
    let group = vec![b'x'; usize::try_from(group_bytes.max(1))?];
    let mut syncs = Histogram::new_with_bounds(1, SYNC_MAX_NS, 3)?;
    let (mut segments, mut groups) = (0, 0_u64);
    let mut segment = reserved(folder, segments, group_bytes)?;
    let mut offset = 0;
    let started = Instant::now();
    while started.elapsed() < time {
        if offset + group_bytes > SEGMENT_BYTES.max(group_bytes) {
            segments += 1;
            segment = reserved(folder, segments, group_bytes)?;
            offset = 0;
        }
        segment.write_all_at(&group, offset)?;
        offset += group_bytes;
        let synced = Instant::now();
        segment.sync_data()?;
        syncs.saturating_record(u64::try_from(synced.elapsed().as_nanos())?);
        groups += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Bare {
        groups_per_second: groups as f64 / seconds,
        syncs,
    })
}

fn reserved(folder: &Path, segment: u64, group_bytes: u64) -> anyhow::Result<File> {
    let file =
        File::create_new(folder.join(format!("bare-{segment}"))).context("creating a segment")?;
    let bytes = SEGMENT_BYTES.max(group_bytes);
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes).context("reserving room")?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_its_groups() {
        let folder = std::env::temp_dir().join(format!("bare-log-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let bare = run(&folder, 40 << 20, Duration::from_millis(1)).unwrap();
        assert!(bare.groups_per_second > 0.0 && !bare.syncs.is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
