//! The sink's files: found by event without formatting a path where that can be helped, and capped in number.

use rustc_hash::FxHashMap;
use veltrix_actors::Event;

use super::Writing;
use super::log_file::LogFile;
use super::template::Template;

/// Bytes of empty buffers kept for the next events, over all files.
const IDLE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct OpenFiles {
    template: Template,
    limit: usize,
    writing: Writing,
    utc_day: u64,
    slots: Vec<Slot>,
    by_path: FxHashMap<Box<str>, usize>,
    /// Where the file of each interned type was last, if the path depends on nothing else.
    by_type: Vec<Known>,
    /// The slot of the last event's path, with its path.
    last: Option<usize>,
    /// Slots with something to write.
    dirty: Vec<usize>,
    /// Counts events, so that slots can tell which was used last.
    now: u64,
    buffered_bytes: usize,
    /// Scratch for paths.
    path: String,
}

#[derive(Debug)]
struct Slot {
    path: Box<str>,
    log: LogFile,
    used_at: u64,
    /// Grows when another file moves in, so that what others remember of the slot is known to be stale.
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    slot: usize,
    generation: u32,
}

const UNKNOWN: Known = Known {
    slot: usize::MAX,
    generation: 0,
};

impl OpenFiles {
    pub(super) fn new(template: Template, limit: usize, writing: Writing) -> Self {
        Self {
            template,
            limit,
            writing,
            utc_day: 0,
            slots: Vec::new(),
            by_path: FxHashMap::default(),
            by_type: Vec::new(),
            last: None,
            dirty: Vec::new(),
            now: 0,
            buffered_bytes: 0,
            path: String::new(),
        }
    }

    /// Sets what `{date}` stands for.
    pub(super) fn set_day(&mut self, utc_day: u64) {
        if self.template.needs_date() && self.utc_day != utc_day {
            self.by_type.clear();
            self.last = None;
        }
        self.utc_day = utc_day;
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    /// How they are written.
    pub(super) fn writing(&mut self) -> &mut Writing {
        &mut self.writing
    }

    /// Closes all files; the next write opens them anew.
    pub(super) fn close(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.log.close());
    }

    /// Adds the event's line to what waits for its file.
    pub(super) fn append(&mut self, event: &Event<'_>) {
        self.now += 1;
        let index = self.slot_of(event);
        let slot = &mut self.slots[index];
        slot.used_at = self.now;
        if slot.log.buffer.unwritten().is_empty() {
            self.dirty.push(index);
        }
        slot.log.buffer.push(event.line());
        self.buffered_bytes += event.line().len() + 1;
    }

    /// Writes all that waits; one file's failure does not keep the others'.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        let mut failures: Vec<String> = Vec::new();
        let (slots, writing) = (&mut self.slots, &mut self.writing);
        let idle_bytes = IDLE_BUFFER_BYTES / slots.len().max(1);
        self.dirty.retain(|&index| {
            let log = &mut slots[index].log;
            let written = log.write(writing);
            log.buffer.shrink_to(idle_bytes);
            failures.extend(written.err());
            !log.buffer.unwritten().is_empty()
        });
        let left = |index: &usize| self.slots[*index].log.buffer.unwritten().len();
        self.buffered_bytes = self.dirty.iter().map(left).sum();
        self.drop_surplus();
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            more => Err(format!("{} (and {} more files)", failures[0], more - 1)),
        }
    }

    fn slot_of(&mut self, event: &Event<'_>) -> usize {
        if self.template.is_same_for_all()
            && let Some(last) = self.last
        {
            return last;
        }
        let by_type = match self.template.needs_type_only() {
            true => event.type_id().index(),
            false => None,
        };
        if let Some(index) = by_type
            && let Some(known) = self.by_type.get(index)
            && let Some(slot) = self.slots.get(known.slot)
            && slot.generation == known.generation
        {
            return known.slot;
        }
        let slot = self.slot_by_path(event);
        if let Some(index) = by_type {
            if self.by_type.len() <= index {
                self.by_type.resize(index + 1, UNKNOWN);
            }
            let generation = self.slots[slot].generation;
            self.by_type[index] = Known { slot, generation };
        }
        slot
    }

    fn slot_by_path(&mut self, event: &Event<'_>) -> usize {
        self.template.fill(event, self.utc_day, &mut self.path);
        if let Some(last) = self.last
            && *self.slots[last].path == *self.path
        {
            return last;
        }
        let slot = match self.by_path.get(self.path.as_str()) {
            Some(slot) => *slot,
            None => self.add(),
        };
        self.last = Some(slot);
        slot
    }

    /// Gives the file at `self.path` a slot, in place of the one unused for the longest time if there are many.
    fn add(&mut self) -> usize {
        let path: Box<str> = self.path.as_str().into();
        let log = LogFile::new(&path);
        let (index, generation) = match self.vacate() {
            Some(index) => (index, self.slots[index].generation.wrapping_add(1)),
            None => (self.slots.len(), 1),
        };
        self.by_path.insert(path.clone(), index);
        let slot = Slot {
            path,
            log,
            used_at: self.now,
            generation,
        };
        match self.slots.get_mut(index) {
            Some(old) => *old = slot,
            None => self.slots.push(slot),
        }
        index
    }

    /// Frees a slot if all are taken. While the disk refuses what waits for the oldest file, that one keeps its slot
    /// without its handle, and there is a slot more; the credits of the senders bound how many.
    fn vacate(&mut self) -> Option<usize> {
        if self.slots.len() < self.limit {
            return None;
        }
        let index = (0..self.slots.len()).min_by_key(|index| self.slots[*index].used_at)?;
        let slot = &mut self.slots[index];
        let waiting_bytes = slot.log.buffer.unwritten().len();
        let written = slot.log.write(&mut self.writing);
        self.buffered_bytes -= waiting_bytes - slot.log.buffer.unwritten().len();
        slot.log.close();
        // The next flush meets the error again, and reports it.
        if written.is_err() {
            slot.used_at = self.now;
            return None;
        }
        self.by_path.remove(&slot.path);
        self.dirty.retain(|dirty| *dirty != index);
        Some(index)
    }

    /// Back to the limit after a time of failures.
    fn drop_surplus(&mut self) {
        while self.slots.len() > self.limit && self.dirty.is_empty() {
            if let Some(slot) = self.slots.pop() {
                self.by_path.remove(&slot.path);
            }
            // The slot number may be given out again with the same generation.
            self.by_type.clear();
            self.last = None;
        }
    }
}

#[cfg(test)]
impl OpenFiles {
    /// Number of slots in use.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
