//! `type: map`: renames, computes and removes fields of an event.
//!
//! It stays near the cost of copying the bytes: only the paths that its expressions and edits name are looked at, and the result is
//! spliced from the untouched bytes.

mod attribute;
mod compile;
mod handler;
mod plan;
mod problems;
mod rename;
mod splice;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub(crate) use handler::prepare;
use plan::{Applied, MapPlan, MapScratch};

/// Renames, computes and removes fields of an event, in this order.
///
/// Paths are `data.field`, `data["any key"].field`, or an attribute: `subject`, `time`, `datacontenttype`, `dataschema` or an
/// extension. Bytes that no edit touches stay as they came.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MapOptions {
    /// Paths that get another name: `{ data.qty: data.quantity }`. What is not there is left alone; what stands under the new name is
    /// replaced. All expressions, `when` too, see the event after it.
    #[serde(default, deserialize_with = "in_order")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub(crate) rename: Vec<(String, String)>,
    /// Paths and the CEL expressions whose values they get: `{ data.total: "data.price * data.quantity" }`. Missing parents are
    /// created. Expressions do not see one another's values.
    #[serde(default, deserialize_with = "in_order")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub(crate) set: Vec<(String, String)>,
    /// Paths that are taken away. What is not there is left alone.
    #[serde(default)]
    pub(crate) remove: Vec<String>,
    /// The type of the result. Left out, the event passes on as itself, with its id and source.
    #[serde(default)]
    pub(crate) emit: Option<String>,
}

/// Reads a mapping as pairs, because the order decides in which order new members are appended.
fn in_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    struct Pairs;

    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(String, String)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a mapping of paths")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(0));
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }

    deserializer.deserialize_map(Pairs)
}
