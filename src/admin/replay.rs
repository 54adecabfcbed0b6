//! `POST /api/replay`: finished events that the journal still keeps are sent once more.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veltrix_actors::{DeskError, JournalFilter, TypePattern};

use super::Observed;
use super::actions::{Body, Refusal, audit, check, check_rate, parse};
use super::problem;
use crate::dead_letters::time;

/// Why nothing is replayed that was never kept.
const NO_JOURNAL: &str = "this process has no journal, so there is nothing to replay: at its start no source had `durability: journal`";

/// Which events, and where to.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Order {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_handler: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_sink: Option<String>,
    #[serde(skip_serializing)]
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
}

/// `POST /api/replay`
pub(super) async fn replay(
    request: HttpRequest,
    observed: web::Data<Observed>,
    body: Body,
) -> HttpResponse {
    match carry_out(&request, &observed, &body).await {
        Ok(answer) => problem::json(answer.to_string()),
        Err(refusal) => refusal.answer(),
    }
}

async fn carry_out(
    request: &HttpRequest,
    observed: &web::Data<Observed>,
    body: &Body,
) -> Result<Value, Refusal> {
    check(request)?;
    let order: Order = parse(body)?;
    check_rate(order.rate)?;
    let bad = |why: String| Refusal(StatusCode::BAD_REQUEST, why);
    let mut filter = order.filter().map_err(bad)?;
    let branch = order.branch().map_err(bad)?;
    if !observed.replay_targets.now().has(&branch) {
        let name = branch.replacen('.', " `", 1);
        return Err(bad(format!("the config has no {name}`")));
    }
    let Some(journal) = &observed.journal else {
        return Err(Refusal(StatusCode::CONFLICT, NO_JOURNAL.to_owned()));
    };
    if observed.registry.journal.is_replaying() && !order.dry_run {
        // Before the audit log says that there is one.
        return Err(Refusal::of(&DeskError::Busy));
    }
    let kept = journal.count(filter.clone()).await;
    let kept = kept.map_err(|error| Refusal::of(&error))?;
    // One that the config does not have any more may have events there.
    if let Some(source) = &order.source
        && kept.count == 0
    {
        let sources = observed.registry.sources();
        let known: Vec<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
        if !known.contains(&source.as_str()) {
            let known = known.join(", ");
            return Err(bad(format!(
                "the config has no source `{source}`, and of one the journal has no such event; known: {known}"
            )));
        }
    }
    if !order.dry_run {
        filter.end = kept.end;
        let chosen = json!(order);
        let action = "replay".to_owned();
        audit(request, observed, action, chosen, kept.count).await?;
        let begun = journal.replay(filter, branch, order.rate).await;
        begun.map_err(|error| Refusal::of(&error))?;
    }
    Ok(json!({ "dry_run": order.dry_run, "count": kept.count }))
}

impl Order {
    fn filter(&self) -> Result<JournalFilter, String> {
        let Some(from) = &self.from else {
            return Err(
                "say from when by `from`: a time, or how long ago, such as `10m`".to_owned(),
            );
        };
        let until = self.until.as_deref().map(|until| time("until", until));
        let types = self.event_type.as_deref().map(TypePattern::parse);
        Ok(JournalFilter {
            from: Some(time("from", from)?),
            until: until.transpose()?,
            types: types
                .transpose()
                .map_err(|error| format!("`type`: {error}"))?,
            source: self.source.clone(),
            ..JournalFilter::default()
        })
    }

    fn branch(&self) -> Result<String, String> {
        match (&self.to_handler, &self.to_sink) {
            (None, None) => Ok("router".to_owned()),
            (Some(handler), None) => Ok(format!("handler.{handler}")),
            (None, Some(sink)) => Ok(format!("sink.{sink}")),
            (Some(_), Some(_)) => Err("`to_handler` and `to_sink` exclude each other".to_owned()),
        }
    }
}
