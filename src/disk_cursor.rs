//! A little that outlives the process, such as the place of a source with `durability: upstream`, in a folder of its own:
//! three files of which two are always whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use veltrix_actors::CursorStore;

use crate::journal::{DiskStorage, Storage};

const SLOTS: usize = 3;
const MAGIC: [u8; 8] = *b"\xFFVLTXPLC";
const FORMAT_VERSION: u32 = 1;
/// Magic, checksum of what follows, version, generation, bytes of the place.
const HEADER_BYTES: usize = 32;
const CHECKSUM_AT: usize = 8;
const CHECKED_FROM: usize = 12;
/// Room that each file has on the disk from the start, so that a full disk can still drain.
const ROOM_BYTES: u64 = 16 * 1024;

/// A place on the disk.
pub(crate) struct DiskCursor {
    folder: PathBuf,
    /// What it means if nothing of it can be read.
    without: &'static str,
    // Locked because the source's actors of one process come one after the other, on whichever thread.
    slots: Mutex<Option<Slots>>,
}

/// The open files. The one that was written last is whole however the process ends, the one that was synced last however
/// the machine does; the third is written next.
struct Slots {
    storage: DiskStorage,
    files: Vec<Slot>,
    generation: u64,
    written: usize,
    synced: usize,
    /// Whether there is something to sync.
    is_behind: bool,
}

struct Slot {
    file: File,
    room_bytes: u64,
}

impl DiskCursor {
    /// A place in `folder`, which is made when it is needed. What it means if it is damaged, `without` says in the log.
    pub(crate) fn new(folder: PathBuf, without: &'static str) -> Self {
        Self {
            folder,
            without,
            slots: Mutex::default(),
        }
    }

    fn slots(&self) -> MutexGuard<'_, Option<Slots>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CursorStore for DiskCursor {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        let (slots, found) = open(&self.folder, self.without)?;
        *self.slots() = Some(slots);
        Ok(found)
    }

    fn save(&self, place: &[u8]) -> io::Result<()> {
        let mut slots = self.slots();
        slots.as_mut().ok_or_else(not_open)?.save(place)
    }

    fn sync(&self) -> io::Result<()> {
        let mut slots = self.slots();
        slots.as_mut().ok_or_else(not_open)?.sync()
    }
}

fn not_open() -> io::Error {
    io::Error::other("it was not loaded")
}

fn open(folder: &Path, without: &str) -> io::Result<(Slots, Option<Vec<u8>>)> {
    if let Some(parent) = folder.parent()
        && !parent.exists()
    {
        std::fs::create_dir_all(parent)?;
        File::open(parent.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    }
    let mut storage = DiskStorage::create(folder)?;
    let mut files = Vec::with_capacity(SLOTS);
    let mut newest: Option<(u64, usize, Vec<u8>)> = None;
    let mut damaged = 0;
    for index in 0..SLOTS {
        let (file, read) = open_slot(&mut storage, index)?;
        match read {
            Read::Place { generation, place } => {
                let is_newer = newest
                    .as_ref()
                    .is_none_or(|(known, ..)| generation > *known);
                if is_newer {
                    newest = Some((generation, index, place));
                }
            }
            Read::Nothing => {}
            Read::Damaged => damaged += 1,
        }
        files.push(file);
    }
    // What a killed process wrote last may not be on the disk yet.
    for slot in &files {
        slot.file.sync_all()?;
    }
    storage.sync_directory()?;
    if newest.is_none() && damaged > 0 {
        tracing::error!(
            folder = %folder.display(),
            "what is stored here is damaged and ignored: {without}"
        );
    }
    let (generation, written, place) = match newest {
        Some((generation, index, place)) => (generation, index, Some(place)),
        None => (0, 0, None),
    };
    let slots = Slots {
        storage,
        files,
        generation,
        written,
        synced: written,
        is_behind: false,
    };
    Ok((slots, place))
}

fn open_slot(storage: &mut DiskStorage, index: usize) -> io::Result<(Slot, Read)> {
    let name = index.to_string();
    let file = match storage.open(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => storage.create(&name)?,
        opened => opened?,
    };
    let length = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    let read = decode(&bytes)?;
    let room_bytes = length.max(ROOM_BYTES);
    storage.allocate(&file, room_bytes)?;
    Ok((Slot { file, room_bytes }, read))
}

impl Slots {
    fn save(&mut self, place: &[u8]) -> io::Result<()> {
        let bytes = encode(self.generation + 1, place);
        let next = (0..SLOTS)
            .find(|index| ![self.written, self.synced].contains(index))
            .expect("three files, two of which are taken");
        let slot = &mut self.files[next];
        let room_bytes = (bytes.len() as u64).next_power_of_two();
        if room_bytes > slot.room_bytes {
            self.storage.allocate(&slot.file, room_bytes)?;
            slot.room_bytes = room_bytes;
        }
        slot.file.write_all_at(&bytes, 0)?;
        self.generation += 1;
        self.written = next;
        self.is_behind = true;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        // After a failure, the pages that it concerned count as clean, and a second try would succeed without them.
        if std::mem::take(&mut self.is_behind) {
            self.files[self.written].file.sync_data()?;
            self.synced = self.written;
        }
        Ok(())
    }
}

/// What a file held.
enum Read {
    Nothing,
    Damaged,
    Place { generation: u64, place: Vec<u8> },
}

fn encode(generation: u64, place: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + place.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&(place.len() as u64).to_le_bytes());
    bytes.extend_from_slice(place);
    let checksum = crc32c::crc32c(&bytes[CHECKED_FROM..]);
    bytes[CHECKSUM_AT..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// What `bytes` are, unless a newer version wrote them.
fn decode(bytes: &[u8]) -> io::Result<Read> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Read::Nothing);
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(Read::Damaged);
    };
    let length = usize::try_from(u64_at(header, 24)).unwrap_or(usize::MAX);
    let Some(place) = rest.get(..length) else {
        return Ok(Read::Damaged);
    };
    let checksum = crc32c::crc32c(&bytes[CHECKED_FROM..HEADER_BYTES + length]);
    if header[..CHECKSUM_AT] != MAGIC || u32_at(header, CHECKSUM_AT) != checksum {
        return Ok(Read::Damaged);
    }
    match u32_at(header, CHECKED_FROM) {
        FORMAT_VERSION => Ok(Read::Place {
            generation: u64_at(header, 16),
            place: place.to_vec(),
        }),
        version => Err(io::Error::other(format!(
            "a newer version of veltrix has written it (format {version}, this one knows {FORMAT_VERSION})"
        ))),
    }
}

fn u32_at(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| header[at + index]))
}

fn u64_at(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| header[at + index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(folder: &Path) -> Option<Vec<u8>> {
        DiskCursor::new(folder.to_owned(), "").load().unwrap()
    }

    #[test]
    fn the_place_that_was_saved_last_comes_back_however_large() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("cursors/in");
        let cursor = DiskCursor::new(folder.clone(), "");
        assert_eq!(cursor.load().unwrap(), None);
        assert_eq!(load(&folder), None);
        for size in [0, 10, 40_000, 3, 3] {
            cursor.save(&vec![7; size]).unwrap();
            assert_eq!(load(&folder), Some(vec![7; size]));
            if size == 10 {
                cursor.sync().unwrap();
            }
        }
    }

    #[test]
    fn what_tears_the_newest_file_leaves_the_one_before_and_two_leave_the_synced_one() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("in");
        let cursor = DiskCursor::new(folder.clone(), "");
        cursor.load().unwrap();
        cursor.save(b"synced").unwrap();
        cursor.sync().unwrap();
        for number in 0..5 {
            cursor.save(format!("save {number}").as_bytes()).unwrap();
        }
        let tear = |content: &[u8]| {
            let torn = (0..SLOTS).map(|index| folder.join(index.to_string()));
            let torn = torn.filter(|path| {
                let bytes = std::fs::read(path).unwrap();
                bytes.windows(content.len()).any(|part| part == content)
            });
            for path in torn.collect::<Vec<_>>() {
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[HEADER_BYTES] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            }
        };
        tear(b"save 4");
        assert_eq!(load(&folder), Some(b"save 3".to_vec()));
        tear(b"save 3");
        assert_eq!(load(&folder), Some(b"synced".to_vec()));
        tear(b"synced");
        assert_eq!(load(&folder), None);
    }

    #[test]
    fn no_flipped_bit_is_taken_for_a_place_and_no_newer_format_is_overwritten() {
        let bytes = encode(3, b"a place");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&flipped), Ok(Read::Damaged)), "bit {bit}");
        }
        for length in 1..bytes.len() {
            assert!(matches!(decode(&bytes[..length]), Ok(Read::Damaged)));
        }
        let mut newer = bytes;
        newer[CHECKED_FROM] = 2;
        let checksum = crc32c::crc32c(&newer[CHECKED_FROM..]);
        newer[CHECKSUM_AT..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("0"), newer).unwrap();
        let cursor = DiskCursor::new(parent.path().to_owned(), "");
        let error = cursor.load().unwrap_err();
        assert!(error.to_string().contains("newer version"), "{error}");
        assert!(cursor.save(b"x").is_err());
    }
}
