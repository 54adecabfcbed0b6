//! Interned event types: a small id on the hot path, the name for whoever asks, and a cap so that senders cannot grow memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dashmap::DashMap;

/// Distinct event types that are interned; later ones stay correct but are looked up by name each time.
pub const TYPES_MAX: u32 = 65_536;

/// Bytes of a type's name that is interned; longer ones are looked up by name each time as well.
pub const TYPE_NAME_BYTES_MAX: usize = 256;

/// An interned event type, or [`TypeId::UNINTERNED`] past [`TYPES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(u32);

impl TypeId {
    /// A type that arrived after the table was full; its name has to be read from the event.
    pub const UNINTERNED: TypeId = TypeId(u32::MAX);

    /// The position in a table indexed by type, `None` for [`TypeId::UNINTERNED`].
    pub fn index(self) -> Option<usize> {
        (self != TypeId::UNINTERNED).then_some(self.0 as usize)
    }
}

/// The process's table of event types, shared by all parsers and read by routers, sinks and the admin server.
#[derive(Debug)]
pub struct TypeTable {
    ids: DashMap<Arc<str>, TypeId>,
    names: DashMap<u32, Arc<str>>,
    next: AtomicU32,
}

impl Default for TypeTable {
    fn default() -> Self {
        Self {
            ids: DashMap::new(),
            names: DashMap::new(),
            next: AtomicU32::new(0),
        }
    }
}

impl TypeTable {
    /// The id of `name`, given out at its first sight; [`TypeId::UNINTERNED`] once [`TYPES_MAX`] are known.
    pub fn intern(&self, name: &str) -> TypeId {
        if name.len() > TYPE_NAME_BYTES_MAX {
            return TypeId::UNINTERNED;
        }
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        if self.next.load(Ordering::Relaxed) >= TYPES_MAX {
            return TypeId::UNINTERNED;
        }
        let name: Arc<str> = name.into();
        // The entry lock makes the check and the numbering one step, so that a type never gets two ids.
        *self.ids.entry(name.clone()).or_insert_with(|| {
            let next = self
                .next
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                    (next < TYPES_MAX).then_some(next + 1)
                });
            match next {
                Ok(id) => {
                    self.names.insert(id, name);
                    TypeId(id)
                }
                Err(_) => TypeId::UNINTERNED,
            }
        })
    }

    /// The name behind an interned id.
    pub fn name(&self, id: TypeId) -> Option<Arc<str>> {
        self.names.get(&id.0).map(|name| Arc::clone(&name))
    }

    /// How many types are interned.
    pub fn len(&self) -> usize {
        self.next.load(Ordering::Relaxed) as usize
    }

    /// Whether no type was seen yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One parser's direct-mapped front of the table: a repeated type costs one comparison, not a shared map's lock.
#[derive(Clone, Debug)]
pub struct TypeCache {
    table: Arc<TypeTable>,
    slots: Vec<(Arc<str>, TypeId)>,
}

/// Slots of a parser's cache; a power of two.
const CACHE_SLOTS: usize = 64;

impl TypeCache {
    /// An empty cache before `table`.
    pub fn new(table: Arc<TypeTable>) -> Self {
        let slots = vec![(Arc::from(""), TypeId::UNINTERNED); CACHE_SLOTS];
        Self { table, slots }
    }

    /// As [`TypeTable::intern`].
    pub fn intern(&mut self, name: &str) -> TypeId {
        let bytes = name.as_bytes();
        let mix = |at: usize| usize::from(bytes.get(at).copied().unwrap_or_default());
        let length = bytes.len();
        let slot = length
            .wrapping_mul(31)
            .wrapping_add(mix(length.wrapping_sub(1)))
            .wrapping_mul(31)
            .wrapping_add(mix(length.wrapping_sub(3)))
            .wrapping_mul(31)
            .wrapping_add(mix(length / 2))
            % CACHE_SLOTS;
        let (cached, id) = &self.slots[slot];
        if &**cached == name {
            return *id;
        }
        let id = self.table.intern(name);
        if id != TypeId::UNINTERNED {
            self.slots[slot] = (name.into(), id);
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_keeps_its_id_and_name() {
        let table = Arc::new(TypeTable::default());
        let mut cache = TypeCache::new(table.clone());
        let paid = cache.intern("order.paid");
        assert_ne!(paid, cache.intern("order.created"));
        assert_eq!(paid, cache.intern("order.paid"));
        assert_eq!(paid, table.intern("order.paid"));
        assert_eq!(table.name(paid).as_deref(), Some("order.paid"));
    }

    #[test]
    fn past_the_cap_types_are_not_remembered() {
        let table = TypeTable::default();
        for number in 0..TYPES_MAX {
            assert_ne!(table.intern(&format!("t{number}")), TypeId::UNINTERNED);
        }
        assert_eq!(table.intern("one.more"), TypeId::UNINTERNED);
        assert_eq!(table.len(), TYPES_MAX as usize);
        let long = "x".repeat(TYPE_NAME_BYTES_MAX + 1);
        assert_eq!(TypeTable::default().intern(&long), TypeId::UNINTERNED);
        assert_ne!(table.intern("t7"), TypeId::UNINTERNED);
    }
}
