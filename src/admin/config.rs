//! `/api/config`, `/api/config/history` and `POST /api/reload`: what the process runs by, and how to change that.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::Observed;
use super::actions::{self, Body, Refusal as Forbidden};
use super::problem::{self, problem};
use crate::app::{Answer, Refusal};

/// How a reload is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Order {
    dry_run: bool,
}

/// `GET /api/config`
pub(super) async fn show(observed: web::Data<Observed>) -> HttpResponse {
    problem::json(observed.reload.applied().to_json().to_string())
}

/// `GET /api/config/history`
pub(super) async fn history(observed: web::Data<Observed>) -> HttpResponse {
    let history = json!({ "history": observed.reload.history() });
    problem::json(history.to_string())
}

/// `POST /api/reload`
pub(super) async fn reload(
    request: HttpRequest,
    observed: web::Data<Observed>,
    body: Body,
) -> HttpResponse {
    match try_reload(&request, &observed, &body).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.answer(),
    }
}

async fn try_reload(
    request: &HttpRequest,
    observed: &web::Data<Observed>,
    body: &Body,
) -> Result<HttpResponse, Forbidden> {
    actions::check(request)?;
    let order: Order = actions::parse(body)?;
    if !order.dry_run {
        let nothing = json!({});
        actions::audit(request, observed, "reload".to_owned(), nothing, 0).await?;
    }
    let answer = observed.reload.reload("api", order.dry_run).await;
    Ok(match &answer {
        Answer::Refused(Refusal::Invalid(problems)) => {
            let title = "the config is not valid";
            problem::with(StatusCode::UNPROCESSABLE_ENTITY, title, json!(problems))
        }
        Answer::Refused(refusal) => {
            let status = match refusal {
                Refusal::Draining => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::CONFLICT,
            };
            problem(status, &refusal.text())
        }
        answer => problem::json(answer.to_json().to_string()),
    })
}
