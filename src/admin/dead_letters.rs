//! `/api/dead-letters`: the events that were given up, newest first, and one of them with everything that is known of it.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use veltrix_actors::{DeadLetterQuery, DeskError};

use super::Observed;
use super::problem::{json, problem};
use crate::dead_letters::{FILTERS, filter, page_as_json};

/// Dead letters on one page.
const PAGE_MAX: usize = 1_000;
/// Dead letters on a page when nobody says how many.
const PAGE_DEFAULT: usize = 100;

/// `GET /api/dead-letters?handler=&sink=&class=&type=&from=&to=&id=&limit=&after=`
pub(super) async fn list(
    observed: web::Data<Observed>,
    parameters: web::Query<Vec<(String, String)>>,
) -> HttpResponse {
    let query = match query(&parameters) {
        Ok(query) => query,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    let replaying = observed.registry.dead_letter_store.waiting_for_replay();
    match observed.dead_letters.page(query).await {
        Ok(page) => json(page_as_json(&page, replaying)),
        Err(error) => refused(&error),
    }
}

/// `GET /api/dead-letters/{sequence}`
pub(super) async fn show(
    observed: web::Data<Observed>,
    sequence: web::Path<String>,
) -> HttpResponse {
    let Ok(sequence) = sequence.parse() else {
        let why = format!(
            "`{sequence}` is not the number of a dead letter; `/api/dead-letters` lists them"
        );
        return problem(StatusCode::BAD_REQUEST, &why);
    };
    match observed.dead_letters.get(sequence).await {
        Ok(Some(letter)) => {
            let mut text = String::new();
            letter.write_story(&mut text);
            json(text)
        }
        Ok(None) => {
            let why = format!(
                "there is no dead letter {sequence}: there never was one, it was replayed or purged, or it had to go for \
                 newer ones"
            );
            problem(StatusCode::NOT_FOUND, &why)
        }
        Err(error) => refused(&error),
    }
}

fn query(parameters: &[(String, String)]) -> Result<DeadLetterQuery, String> {
    let mut query = DeadLetterQuery {
        limit: PAGE_DEFAULT,
        ..DeadLetterQuery::default()
    };
    for (name, value) in parameters {
        match name.as_str() {
            "limit" => {
                let limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=PAGE_MAX).contains(limit));
                query.limit = limit.ok_or_else(|| {
                    format!("`limit` must be a whole number from 1 to {PAGE_MAX}, not `{value}`")
                })?;
            }
            "after" => {
                let after = value.parse();
                query.before = Some(after.map_err(|_| {
                    format!("`after` must be the number of a dead letter, not `{value}`")
                })?);
            }
            _ if filter(&mut query.filter, name, value)? => {}
            _ => {
                let known = FILTERS.join(", ");
                return Err(format!(
                    "there is no parameter `{name}`; known: {known}, limit, after"
                ));
            }
        }
    }
    Ok(query)
}

/// Why the desk has nothing to give.
pub(super) fn refused(error: &DeskError) -> HttpResponse {
    problem(status_of(error), &error.to_string())
}

pub(super) fn status_of(error: &DeskError) -> StatusCode {
    match error {
        DeskError::Busy => StatusCode::CONFLICT,
        DeskError::Closed | DeskError::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
