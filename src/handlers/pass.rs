//! `type: pass`: forwards its events as they came; it only routes.

use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{
    Event, Handler, HandlerError, HandlerFactory, LaneHandler, Output, StartError,
};

/// Passing on has no options.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PassOptions {}

/// Makes handlers that pass everything on.
#[derive(Debug)]
pub(crate) struct PassFactory;

/// Validates the options of the handler called `name`; nothing can be wrong with them.
pub(crate) fn prepare(
    _options: PassOptions,
    _name: &str,
) -> Result<PassFactory, Vec<(String, String)>> {
    Ok(PassFactory)
}

impl HandlerFactory for PassFactory {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        Ok(LaneHandler::Sync(Box::new(Pass)))
    }
}

struct Pass;

impl Handler for Pass {
    fn handle(&mut self, _: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        out.pass()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veltrix_actors::Trial;

    #[test]
    fn the_event_comes_out_as_it_went_in() {
        let LaneHandler::Sync(mut handler) = PassFactory.build(0).unwrap() else {
            panic!("it waits for nobody");
        };
        let line = r#"{"specversion":"1.0", "id":"1","source":"/s","type":"t","data": 1.0}"#;
        let outcome = Trial::new("s", "h").handle(&mut *handler, line).unwrap();
        assert_eq!(outcome.lines, [line]);
        assert!(prepare(PassOptions {}, "h").is_ok());
    }
}
