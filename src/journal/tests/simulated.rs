//! A simulated disk with a page cache: what was not synced survives a power cut sector by sector, or not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::rc::Rc;

use super::dice::Dice;
use crate::journal::{Clock, Storage};

/// Small, so that small records are torn, too.
pub(super) const SECTOR_BYTES: usize = 64;

/// A handle to the disk; clones share it.
#[derive(Clone, Debug)]
pub(super) struct SimulatedDisk(Rc<RefCell<Disk>>);

/// The disk and what goes wrong with it.
#[derive(Debug)]
pub(super) struct Disk {
    inodes: Vec<Inode>,
    /// Names as a running process sees them.
    names: BTreeMap<String, usize>,
    /// Names as they are on the disk.
    synced_names: BTreeMap<String, usize>,
    dice: Dice,
    /// Bytes of all files together.
    pub(super) capacity: u64,
    pub(super) faults: Faults,
    /// Operations so far, for those who want to crash at one.
    pub(super) operations: u64,
    /// Writes, syncs and changes of names that failed because they were told to.
    pub(super) failures: u64,
    /// What was called, newest last.
    pub(super) trace: Vec<String>,
}

/// What goes wrong, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// The operation at which the process ends; every operation from there on fails.
    pub(super) crash_at: Option<u64>,
    /// The operation, if it is a sync or a write, that fails.
    pub(super) fail_at: Option<u64>,
    /// Writes are short now and then.
    pub(super) short_writes: bool,
    /// Writes find no room, as a file system may that copies on write.
    pub(super) no_room: bool,
    /// Sectors and names are written back by themselves now and then.
    pub(super) write_back: bool,
    /// What is called is written down.
    pub(super) is_traced: bool,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// As a running process sees it.
    cache: Vec<u8>,
    /// As it is on the disk.
    disk: Vec<u8>,
    /// Sectors that the kernel knows to differ, 64 a word.
    dirty: Vec<u64>,
    /// Sectors that cannot be read.
    bad: Vec<usize>,
}

/// Makes it so long, with zeros. Without optimization this is much faster than `Vec::resize`.
fn set_length(bytes: &mut Vec<u8>, length: usize) {
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes.truncate(length);
    while bytes.len() < length {
        let count = (length - bytes.len()).min(ZEROS.len());
        bytes.extend_from_slice(&ZEROS[..count]);
    }
}

impl Inode {
    fn touch(&mut self, start: usize, end: usize) {
        for sector in start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let word = sector / 64;
            if self.dirty.len() <= word {
                self.dirty.resize(word + 1, 0);
            }
            self.dirty[word] |= 1 << (sector % 64);
        }
    }

    fn is_dirty(&self, sector: usize) -> bool {
        let word = self.dirty.get(sector / 64).copied().unwrap_or(0);
        word >> (sector % 64) & 1 == 1
    }

    /// Brings those of the dirty sectors to the disk that `is_chosen` says.
    fn flush_some(&mut self, mut is_chosen: impl FnMut() -> bool) {
        for index in 0..self.dirty.len() {
            let mut word = self.dirty[index];
            while word != 0 {
                let sector = index * 64 + word.trailing_zeros() as usize;
                word &= word - 1;
                if is_chosen() {
                    self.flush(sector);
                }
            }
        }
    }

    /// Brings one sector of the cache to the disk.
    fn flush(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.cache.len());
        if start < end {
            if self.disk.len() < end {
                set_length(&mut self.disk, end);
            }
            self.disk[start..end].copy_from_slice(&self.cache[start..end]);
        }
        self.dirty[sector / 64] &= !(1 << (sector % 64));
    }

    /// Brings all that is dirty to the disk.
    fn flush_all(&mut self) {
        self.flush_some(|| true);
    }
}

impl SimulatedDisk {
    pub(super) fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(Disk {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            dice: Dice::new(seed),
            capacity: u64::MAX,
            faults: Faults::default(),
            operations: 0,
            failures: 0,
            trace: Vec::new(),
        })))
    }

    /// Reads or changes the disk itself.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Disk) -> T) -> T {
        act(&mut self.0.borrow_mut())
    }
}

impl Disk {
    /// The process is gone; what it wrote is still in the cache.
    pub(super) fn kill(&mut self) {
        self.note("kill");
        self.faults.crash_at = None;
    }

    /// The cache is gone: each sector and each name that was not synced is the old or the new one.
    pub(super) fn cut_power(&mut self) {
        self.note("cut_power");
        self.kill();
        let mut dice = self.dice.clone();
        for inode in &mut self.inodes {
            inode.flush_some(|| dice.one_in(2));
            // The length is the old one, unless something behind it was written back, or the new one.
            let length = inode.cache.len();
            if length != inode.disk.len() && dice.one_in(2) {
                set_length(&mut inode.disk, length);
            }
            inode.cache.clone_from(&inode.disk);
            inode.dirty.clear();
        }
        let names: Vec<String> = self
            .names
            .keys()
            .chain(self.synced_names.keys())
            .cloned()
            .collect();
        for name in names {
            if dice.one_in(2) {
                match self.names.get(&name) {
                    Some(inode) => self.synced_names.insert(name, *inode),
                    None => self.synced_names.remove(&name),
                };
            }
        }
        self.names = self.synced_names.clone();
        self.dice = dice;
    }

    /// Names of the files, folders' with them.
    pub(super) fn files(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// Removes the files whose names end so, on the disk and in the cache.
    pub(super) fn remove_all(&mut self, suffix: &str) {
        self.names.retain(|name, _| !name.ends_with(suffix));
        self.synced_names.clone_from(&self.names);
    }

    /// The bytes of a file, to look at or to change behind the log's back, on the disk and in the cache.
    pub(super) fn edit<T>(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let inode = &mut self.inodes[self.names[name]];
        let changed = change(&mut inode.cache);
        inode.disk.clone_from(&inode.cache);
        inode.dirty.clear();
        changed
    }

    /// Makes the sector at `offset` unreadable.
    pub(super) fn break_sector(&mut self, name: &str, offset: usize) {
        let inode = &mut self.inodes[self.names[name]];
        inode.bad.push(offset / SECTOR_BYTES);
    }

    /// Makes all of the file readable again.
    pub(super) fn mend_sectors(&mut self, name: &str) {
        self.inodes[self.names[name]].bad.clear();
    }

    /// Whether the process is gone.
    pub(super) fn is_crashed(&self) -> bool {
        self.faults.crash_at.is_some_and(|at| self.operations >= at)
    }

    /// Bytes of all files together.
    pub(super) fn used(&self) -> u64 {
        let lengths = self
            .names
            .values()
            .map(|inode| self.inodes[*inode].cache.len());
        lengths.map(|length| length as u64).sum()
    }

    fn note(&mut self, what: &str) {
        if self.faults.is_traced {
            self.trace.push(what.to_owned());
        }
    }

    /// Counts an operation; an error if it is the one to fail, or the process is gone.
    fn step(&mut self, what: impl FnOnce() -> String, may_fail: bool) -> io::Result<()> {
        self.operations += 1;
        if self.faults.is_traced {
            let what = what();
            self.trace.push(what);
        }
        if self.is_crashed() {
            self.failures += 1;
            return Err(io::Error::other("crashed"));
        }
        if may_fail && self.faults.fail_at == Some(self.operations) {
            self.failures += 1;
            return Err(io::Error::other("input/output error"));
        }
        if self.faults.write_back && self.dice.one_in(8) {
            self.write_back();
        }
        Ok(())
    }

    /// Brings what the kernel happens to choose to the disk: a sector, now and then a name.
    fn write_back(&mut self) {
        if self.dice.one_in(4) {
            let names = self.names.len() as u64;
            let chosen = self.names.iter().nth(self.dice.below(names) as usize);
            if let Some((name, inode)) = chosen {
                self.synced_names.insert(name.clone(), *inode);
            }
        }
        let chosen = self.dice.below(self.inodes.len() as u64) as usize;
        let Some(inode) = self.inodes.get_mut(chosen) else {
            return;
        };
        let sectors = inode.cache.len().div_ceil(SECTOR_BYTES) as u64;
        if sectors > 0 {
            let sector = self.dice.below(sectors) as usize;
            if inode.is_dirty(sector) {
                inode.flush(sector);
            }
        }
    }

    fn write(&mut self, file: usize, offset: usize, pieces: &[IoSlice<'_>], count: usize) {
        let inode = &mut self.inodes[file];
        if inode.cache.len() < offset + count {
            set_length(&mut inode.cache, offset + count);
        }
        let mut at = offset;
        let mut left = count;
        for piece in pieces {
            let part = &piece[..piece.len().min(left)];
            inode.cache[at..at + part.len()].copy_from_slice(part);
            at += part.len();
            left -= part.len();
        }
        inode.touch(offset, offset + count);
    }
}

impl Storage for SimulatedDisk {
    type File = usize;

    fn list(&mut self, folder: Option<&str>) -> io::Result<Vec<(String, u64)>> {
        self.with(|disk| {
            disk.step(|| format!("list {folder:?}"), false)?;
            let prefix = folder.map_or(String::new(), |folder| format!("{folder}/"));
            let files = disk.names.iter().filter_map(|(name, inode)| {
                let name = name.strip_prefix(&prefix)?;
                let length = disk.inodes[*inode].cache.len() as u64;
                (!name.contains('/')).then(|| (name.to_owned(), length))
            });
            Ok(files.collect())
        })
    }

    fn create_folder(&mut self, name: &str) -> io::Result<()> {
        self.with(|disk| disk.step(|| format!("create_folder {name}"), false))
    }

    fn create(&mut self, name: &str) -> io::Result<usize> {
        self.with(|disk| {
            disk.step(|| format!("create {name}"), true)?;
            if disk.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let inode = disk.inodes.len();
            disk.inodes.push(Inode::default());
            disk.names.insert(name.to_owned(), inode);
            Ok(inode)
        })
    }

    fn open(&mut self, name: &str) -> io::Result<usize> {
        self.with(|disk| {
            disk.step(|| format!("open {name}"), false)?;
            let inode = disk.names.get(name).copied();
            inode.ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.with(|disk| {
            disk.step(|| format!("remove {name}"), true)?;
            let removed = disk.names.remove(name);
            removed
                .map(drop)
                .ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.with(|disk| {
            disk.step(|| "sync_directory".to_owned(), true)?;
            disk.synced_names = disk.names.clone();
            Ok(())
        })
    }

    fn allocate(&mut self, file: &usize, bytes: u64) -> io::Result<()> {
        self.with(|disk| {
            disk.step(|| format!("allocate {file} {bytes}"), true)?;
            let length = disk.inodes[*file].cache.len() as u64;
            if disk.used() + bytes.saturating_sub(length) > disk.capacity {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let inode = &mut disk.inodes[*file];
            if length < bytes {
                set_length(&mut inode.cache, bytes as usize);
                inode.touch(length as usize, bytes as usize);
            }
            Ok(())
        })
    }

    fn truncate(&mut self, file: &usize, bytes: u64) -> io::Result<()> {
        self.with(|disk| {
            disk.step(|| format!("truncate {file} {bytes}"), true)?;
            let inode = &mut disk.inodes[*file];
            set_length(&mut inode.cache, bytes as usize);
            Ok(())
        })
    }

    fn read_at(&mut self, file: &usize, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|disk| {
            disk.step(|| format!("read {file} {offset} {}", buffer.len()), false)?;
            let inode = &disk.inodes[*file];
            let start = (offset as usize).min(inode.cache.len());
            let count = buffer.len().min(inode.cache.len() - start);
            let sectors = start / SECTOR_BYTES..(start + count).div_ceil(SECTOR_BYTES);
            if inode.bad.iter().any(|sector| sectors.contains(sector)) {
                return Err(io::Error::other("a bad sector"));
            }
            buffer[..count].copy_from_slice(&inode.cache[start..start + count]);
            Ok(count)
        })
    }

    fn write_at(&mut self, file: &usize, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.with(|disk| {
            let total: usize = pieces.iter().map(|piece| piece.len()).sum();
            let mut result = disk.step(|| format!("write {file} {offset} {total}"), true);
            if disk.faults.no_room {
                result = result.and(Err(io::ErrorKind::StorageFull.into()));
            }
            let is_short = disk.faults.short_writes && disk.dice.one_in(4);
            let count = match &result {
                // A write that fails, or at which the process ends, may have got anywhere.
                Err(_) => disk.dice.below(total as u64) as usize,
                Ok(()) if is_short => 1 + disk.dice.below(total as u64 - 1) as usize,
                Ok(()) => total,
            };
            let was_gone = disk.faults.crash_at.is_some_and(|at| disk.operations > at);
            if !was_gone {
                disk.write(*file, offset as usize, pieces, count);
            }
            result?;
            Ok(count)
        })
    }

    fn sync(&mut self, file: &usize) -> io::Result<()> {
        self.with(|disk| {
            let result = disk.step(|| format!("sync {file}"), true);
            let was_gone = disk.faults.crash_at.is_some_and(|at| disk.operations >= at);
            if was_gone {
                return result;
            }
            let Disk { inodes, dice, .. } = disk;
            let inode = &mut inodes[*file];
            match result {
                Ok(()) => {
                    inode.flush_all();
                    set_length(&mut inode.disk, inode.cache.len());
                }
                // After a failure the kernel takes the pages for clean, and what they hold is lost with the power.
                Err(_) => {
                    inode.flush_some(|| dice.one_in(2));
                    inode.dirty.clear();
                }
            }
            result
        })
    }
}

/// Time that a test moves.
#[derive(Clone, Debug, Default)]
pub(super) struct SimulatedClock(Rc<RefCell<u64>>);

impl SimulatedClock {
    pub(super) fn advance(&self, ms: u64) {
        *self.0.borrow_mut() += ms;
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> u64 {
        *self.0.borrow()
    }
}
