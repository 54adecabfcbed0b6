//! Handlers written in Rust: what [`crate::Veltrix::handler`] and [`crate::Veltrix::async_handler`] make of a user's own
//! type.

use std::sync::Arc;

use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;
use veltrix_actors::{HandlerFactory, LaneHandler, StartError};

use crate::components::Kind;
use crate::handlers::conditional;

type Build<O> = Arc<dyn Fn(&O) -> Result<LaneHandler, String> + Send + Sync>;

/// Builds a handler for each lane from the options of its section.
struct NativeFactory<O> {
    options: O,
    build: Build<O>,
}

impl<O: Send + Sync> HandlerFactory for NativeFactory<O> {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        (self.build)(&self.options).map_err(StartError)
    }

    /// Nobody knows what it does, so it cannot hold others up unless the config allows it.
    fn is_isolated(&self) -> bool {
        true
    }
}

/// The kind that `type: <name>` stands for.
pub(crate) fn kind<O>(
    name: &'static str,
    summary: &'static str,
    build: impl Fn(&O) -> Result<LaneHandler, String> + Send + Sync + 'static,
) -> Kind<dyn HandlerFactory>
where
    O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
{
    let build: Build<O> = Arc::new(build);
    Kind {
        name,
        summary,
        schema: || schema_for!(O),
        prepare: Arc::new(move |section| {
            let factory = NativeFactory {
                options: section.options::<O>()?,
                build: Arc::clone(&build),
            };
            conditional::wrap(&section, Arc::new(factory))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Section;
    use futures::FutureExt;
    use futures::future::LocalBoxFuture;
    use serde::Deserialize;
    use veltrix_actors::{
        AsyncHandler, Event, Handler, HandlerError, Output, Reply, ReplyResult, Trial,
    };

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Limit {
        /// Larger numbers are flagged.
        above: u64,
    }

    struct Flag(u64);

    impl Handler for Flag {
        fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
            let number: u64 = event.data().and_then(|data| data.parse().ok()).unwrap_or(0);
            match number > self.0 {
                true => out.emit("flagged", &number.to_string()),
                false => Ok(()),
            }
        }
    }

    fn limit() -> Kind<dyn HandlerFactory> {
        kind(
            "limit",
            "Flags large numbers",
            |options: &Limit| match options.above {
                0 => Err("everything is above nothing".to_owned()),
                above => Ok(LaneHandler::Sync(Box::new(Flag(above)))),
            },
        )
    }

    #[test]
    fn options_and_condition_of_the_section_reach_the_handler() {
        let options = serde_json::json!({"above": 5});
        let (factory, problems) = Section::alone(options, Some("type == 't'"), |section| {
            (limit().prepare)(section)
        });
        assert_eq!(problems.to_string(), "");
        let factory = factory.unwrap();
        assert!(factory.is_isolated() && factory.is_conditional());
        let LaneHandler::Sync(mut handler) = factory.build(0).unwrap() else {
            panic!("it answers at once");
        };
        let mut trial = Trial::new("s", "h");
        let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":6}"#;
        let outcome = trial.handle(&mut *handler, line).unwrap();
        assert!(outcome.lines[0].contains(r#""type":"flagged""#));
        let other = line.replace("\"t\"", "\"u\"");
        assert!(
            trial
                .handle(&mut *handler, &other)
                .unwrap()
                .refusal
                .is_some()
        );
    }

    struct Later;

    impl AsyncHandler for Later {
        fn handle(
            &mut self,
            event: &Event<'_>,
        ) -> LocalBoxFuture<'static, Result<Reply, HandlerError>> {
            let data = event.data().unwrap_or_default().to_owned();
            async move {
                tokio::task::yield_now().await;
                let event_type = "later".to_owned();
                Ok(Reply::Results(vec![ReplyResult::Data { event_type, data }]))
            }
            .boxed_local()
        }
    }

    #[actix::test]
    async fn a_handler_that_waits_answers_later() {
        let kind = kind("later", "Answers later", |_: &Limit| {
            Ok(LaneHandler::Async(Box::new(Later)))
        });
        let options = serde_json::json!({"above": 5});
        let (factory, _) = Section::alone(options, None, |section| (kind.prepare)(section));
        let LaneHandler::Async(mut handler) = factory.unwrap().build(0).unwrap() else {
            panic!("it waits");
        };
        let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":6}"#;
        let mut trial = Trial::new("s", "h");
        let answer = {
            let batch = trial.batch(&[line]).unwrap();
            handler.handle(&batch.event(0))
        };
        let reply = answer.await.unwrap();
        let outcome = trial.reply(line, reply).unwrap();
        assert!(outcome.lines[0].contains(r#""type":"later""#));
    }

    #[test]
    fn wrong_options_are_problems_and_a_refusing_builder_a_failed_start() {
        let (factory, problems) = Section::alone(serde_json::json!({"abve": 5}), None, |section| {
            (limit().prepare)(section)
        });
        assert!(factory.is_none());
        assert!(problems.to_string().contains("abve"), "{problems}");
        let (factory, _) = Section::alone(serde_json::json!({"above": 0}), None, |section| {
            (limit().prepare)(section)
        });
        let error = factory.unwrap().build(0).err().unwrap();
        assert_eq!(error.to_string(), "everything is above nothing");
    }
}
