//! A map in its lane.

use std::sync::Arc;

use veltrix_actors::{
    Event, Handler, HandlerError, HandlerFactory, LaneHandler, Output, Refusal, StartError,
};

use super::{Applied, MapOptions, MapPlan, MapScratch};
use crate::config::Section;

/// Compiles a map's section.
pub(crate) fn prepare(section: &Section<'_>) -> Option<Arc<dyn HandlerFactory>> {
    let options: MapOptions = section.options()?;
    let is_typeless = options.emit.as_deref() == Some("");
    if is_typeless {
        section.problem("emit", "a type must not be empty");
    }
    match MapPlan::compile(&options, section.when()) {
        Ok(_) if is_typeless => None,
        Ok(plan) => Some(Arc::new(MapFactory {
            plan: Arc::new(plan),
            emit: options.emit.map(Arc::from),
            is_conditional: section.when().is_some(),
        })),
        Err(problems) => {
            for (key, message) in problems {
                section.problem(&key, message);
            }
            None
        }
    }
}

struct MapFactory {
    plan: Arc<MapPlan>,
    emit: Option<Arc<str>>,
    is_conditional: bool,
}

impl HandlerFactory for MapFactory {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        Ok(LaneHandler::Sync(Box::new(MapHandler {
            changes_envelope: self.plan.changes_envelope(),
            plan: self.plan.clone(),
            emit: self.emit.clone(),
            scratch: MapScratch::default(),
            buffer: Vec::new(),
            attributes: Vec::new(),
        })))
    }

    fn is_conditional(&self) -> bool {
        self.is_conditional
    }
}

struct MapHandler {
    plan: Arc<MapPlan>,
    emit: Option<Arc<str>>,
    changes_envelope: bool,
    scratch: MapScratch,
    /// The result's bytes before they are known to be text; kept so that it allocates nothing per event.
    buffer: Vec<u8>,
    /// Edited attributes of a derived result.
    attributes: Vec<(String, Option<String>)>,
}

impl MapHandler {
    /// The event as itself.
    fn pass(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        let applied = self.plan.apply(event, &mut self.scratch, &mut self.buffer);
        match applied.map_err(permanent)? {
            Applied::Unchanged => out.pass(),
            Applied::Written if self.changes_envelope || event.data_span().is_none() => {
                let line = text(&self.buffer)?;
                out.write_event(|arena| {
                    arena.push_str(line);
                    Ok(())
                })
            }
            Applied::Written => {
                let line = text(&self.buffer)?;
                out.pass_with_data(|arena| {
                    arena.push_str(line);
                    Ok(())
                })
            }
            unwanted => refuse(&unwanted, out),
        }
    }

    /// A derived result of type `emit`.
    fn derive(
        &mut self,
        event: &Event<'_>,
        emit: &str,
        out: &mut Output<'_>,
    ) -> Result<(), HandlerError> {
        self.attributes.clear();
        let attributes = &mut self.attributes;
        let report = |name: &str, value: Option<&str>| {
            attributes.retain(|(known, _)| known != name);
            attributes.push((name.to_owned(), value.map(str::to_owned)));
        };
        let applied = self
            .plan
            .apply_data(event, &mut self.scratch, report, &mut self.buffer);
        match applied.map_err(permanent)? {
            Applied::Written => out.derive(emit, &self.attributes, Some(text(&self.buffer)?)),
            Applied::Unchanged => out.derive(emit, &self.attributes, None),
            unwanted => refuse(&unwanted, out),
        }
    }
}

impl Handler for MapHandler {
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        self.buffer.clear();
        match self.emit.clone() {
            Some(emit) => self.derive(event, &emit, out),
            None => self.pass(event, out),
        }
    }
}

fn refuse(applied: &Applied, out: &mut Output<'_>) -> Result<(), HandlerError> {
    out.refuse(match applied {
        Applied::Missing(_) => Refusal::Missing,
        _ => Refusal::False,
    });
    Ok(())
}

/// A map has no state, so what fails once fails always; `attempts` would only repeat it.
fn permanent(error: super::plan::MapError) -> HandlerError {
    HandlerError::permanent(error.to_string())
}

fn text(bytes: &[u8]) -> Result<&str, HandlerError> {
    std::str::from_utf8(bytes)
        .map_err(|error| HandlerError::permanent(format!("the result is not UTF-8: {error}")))
}
