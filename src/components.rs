//! The tables of component kinds: what `type:` may name, with the options of each.

use std::sync::Arc;

use schemars::Schema;

use crate::config::{CheckExpression, Section};

pub use veltrix_actors::{HandlerFactory, SinkFactory, SourceFactory};

/// Turns a component's section into its factory; `None` after it has reported what is wrong.
pub type Prepare<F> = Arc<dyn Fn(Section<'_>) -> Option<Arc<F>> + Send + Sync>;

/// One kind of component: what `veltrix components` prints and the config builds from.
pub struct Kind<F: ?Sized> {
    /// The value of `type:`.
    pub name: &'static str,
    /// One line on what it does.
    pub summary: &'static str,
    /// Its options, without the keys that all components of the role share.
    pub schema: fn() -> Schema,
    /// Validates a section.
    pub prepare: Prepare<F>,
}

/// Every kind that a config may name: the built-in ones and those that a user's own `main` adds.
pub struct Components {
    /// Where events come in.
    pub sources: Vec<Kind<dyn SourceFactory>>,
    /// What is done with them.
    pub handlers: Vec<Kind<dyn HandlerFactory>>,
    /// Where results go.
    pub sinks: Vec<Kind<dyn SinkFactory>>,
    /// Compiles a CEL expression and tells what is wrong with it.
    pub check_expression: CheckExpression,
}

impl Components {
    /// The source kind called `name`.
    pub fn source(&self, name: &str) -> Option<&Kind<dyn SourceFactory>> {
        self.sources.iter().find(|kind| kind.name == name)
    }

    /// The handler kind called `name`.
    pub fn handler(&self, name: &str) -> Option<&Kind<dyn HandlerFactory>> {
        self.handlers.iter().find(|kind| kind.name == name)
    }

    /// The sink kind called `name`.
    pub fn sink(&self, name: &str) -> Option<&Kind<dyn SinkFactory>> {
        self.sinks.iter().find(|kind| kind.name == name)
    }
}
