//! The values that the expressions of one component read: which they are, and where they stand in the event at hand.
//!
//! All expressions of a component share one table of slots, so that one pass over the event serves them all, and a list that CEL
//! needs as a tree is built once an event.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use cel::common::types::CelBool;
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;

use super::error::EvaluationError;
use super::locate::{Located, NodeId, PathTrie};
use super::value::Value;

/// Slots that are bound without an allocation; a component with more pays one an event.
const INLINE_SLOTS: usize = 12;

/// The event as expressions and edits see it: one line of JSON.
pub(crate) trait EventView<'a> {
    /// The whole CloudEvent, one line of JSON.
    fn line(&self) -> &'a str;
    /// Where in the line the value of `data` stands, if the event has one.
    fn data_span(&self) -> Option<Range<usize>>;
    /// The raw JSON text of an attribute of the envelope.
    fn attribute(&self, name: &str) -> Option<&'a str>;
}

impl<'a> EventView<'a> for veltrix_actors::Event<'a> {
    fn line(&self) -> &'a str {
        veltrix_actors::Event::line(self)
    }

    fn data_span(&self) -> Option<Range<usize>> {
        veltrix_actors::Event::data_span(self)
    }

    fn attribute(&self, name: &str) -> Option<&'a str> {
        veltrix_actors::Event::attribute(self, name)
    }
}

/// Something that expressions read, once however often they do.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: Arc<str>,
    pub(crate) source: SlotSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SlotSource {
    Attribute(Box<str>),
    Path(NodeId),
}

/// All that the expressions of one component read.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) trie: PathTrie,
    pub(crate) slots: Vec<Slot>,
    /// An expression calls CEL, so trees may be needed.
    pub(crate) calls_cel: bool,
}

impl Slots {
    /// The paths and attributes that are read, as they are written.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| &*slot.name)
    }

    /// Binds every slot: paths from `located`, which must come from a scan of `text`, and attributes from `attribute`. Without
    /// `located`, paths are absent.
    pub(crate) fn bind<'a>(
        &'a self,
        text: &'a str,
        located: Option<&Located>,
        attribute: impl Fn(&str) -> Option<&'a str>,
    ) -> Bindings<'a> {
        let raw_of = |slot: &Slot| match &slot.source {
            SlotSource::Attribute(name) => attribute(name),
            SlotSource::Path(node) => located.and_then(|located| located.span(*node).of(text)),
        };
        let mut inline = [None; INLINE_SLOTS];
        let mut spilled = Vec::new();
        if self.slots.len() <= INLINE_SLOTS {
            for (raw, slot) in inline.iter_mut().zip(&self.slots) {
                *raw = raw_of(slot);
            }
        } else {
            spilled = self.slots.iter().map(raw_of).collect();
        }
        let mut trees = Vec::new();
        if self.calls_cel {
            trees.resize_with(self.slots.len(), OnceLock::new);
        }
        Bindings {
            slots: &self.slots,
            inline,
            spilled,
            trees,
        }
    }
}

type Tree<'a> = Result<Box<dyn Val + 'a>, EvaluationError>;

/// The slots with their values for one event.
pub(crate) struct Bindings<'a> {
    slots: &'a [Slot],
    inline: [Option<&'a str>; INLINE_SLOTS],
    spilled: Vec<Option<&'a str>>,
    /// What CEL has asked for so far. A `OnceLock` because CEL wants its resolver to be `Sync`.
    trees: Vec<OnceLock<Tree<'a>>>,
}

impl<'a> Bindings<'a> {
    /// The JSON text of a slot, if the event has it.
    #[inline]
    pub(crate) fn raw(&self, slot: usize) -> Option<&'a str> {
        let all = if self.spilled.is_empty() {
            &self.inline[..]
        } else {
            &self.spilled
        };
        all.get(slot).copied().flatten()
    }

    /// The JSON text of a slot, or that it is missing.
    #[inline]
    pub(crate) fn require(&self, slot: usize) -> Result<&'a str, EvaluationError> {
        self.raw(slot).ok_or_else(|| self.missing(slot))
    }

    pub(crate) fn missing(&self, slot: usize) -> EvaluationError {
        EvaluationError::Missing(Arc::clone(&self.slots[slot].name))
    }

    /// Why CEL could not resolve `name`, if it is one of ours.
    pub(crate) fn unresolved(&self, name: &str) -> Option<EvaluationError> {
        let Variable::Value(slot) = Variable::parse(name)? else {
            return None;
        };
        match self.trees.get(slot).and_then(OnceLock::get) {
            Some(Err(error)) => Some(error.clone()),
            _ => Some(self.missing(slot)),
        }
    }
}

impl VariableResolver for Bindings<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match Variable::parse(variable)? {
            Variable::Presence(slot) => {
                Some(CowVal::owned(CelBool::from(self.raw(slot).is_some())))
            }
            Variable::Value(slot) => {
                let raw = self.raw(slot)?;
                let tree = self
                    .trees
                    .get(slot)?
                    .get_or_init(|| Value::from_json(raw).and_then(Value::into_cel));
                tree.as_ref()
                    .ok()
                    .map(|value| CowVal::Borrowed(value.as_ref()))
            }
        }
    }
}

/// A slot as a variable of CEL; no expression can write these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variable {
    /// `@3`: the value of slot 3.
    Value(usize),
    /// `@?3`: whether slot 3 is there.
    Presence(usize),
}

impl Variable {
    fn parse(name: &str) -> Option<Self> {
        let number = name.strip_prefix('@')?;
        match number.strip_prefix('?') {
            Some(slot) => slot.parse().ok().map(Self::Presence),
            None => number.parse().ok().map(Self::Value),
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Value(slot) => format!("@{slot}"),
            Self::Presence(slot) => format!("@?{slot}"),
        }
    }
}
