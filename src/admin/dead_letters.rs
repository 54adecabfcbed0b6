//! `/api/dead-letters`: the events that were given up, newest first, and one of them with everything that is known of it.

use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, web};
use veltrix_actors::{DeadLetterPage, DeadLetterQuery, FailureClass};

use super::Observed;
use super::problem::problem;

/// Dead letters on one page.
const PAGE_MAX: usize = 1_000;
/// Dead letters on a page when nobody says how many.
const PAGE_DEFAULT: usize = 100;
/// The parameters of a list.
const PARAMETERS: [&str; 5] = ["handler", "class", "type", "limit", "after"];

/// `GET /api/dead-letters?handler=&class=&type=&limit=&after=`
pub(super) async fn list(
    observed: web::Data<Observed>,
    parameters: web::Query<Vec<(String, String)>>,
) -> HttpResponse {
    let query = match query(&parameters) {
        Ok(query) => query,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    match observed.dead_letters.page(query).await {
        Some(page) => json(page_as_json(&page)),
        None => absent(),
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
        Some(Some(letter)) => {
            let mut text = String::new();
            letter.write_story(&mut text);
            json(text)
        }
        Some(None) => {
            let why = format!(
                "there is no dead letter {sequence}: there never was one, or it had to go for newer ones \
                 (dead_letters.max_in_memory)"
            );
            problem(StatusCode::NOT_FOUND, &why)
        }
        None => absent(),
    }
}

fn query(parameters: &[(String, String)]) -> Result<DeadLetterQuery, String> {
    let mut query = DeadLetterQuery {
        limit: PAGE_DEFAULT,
        ..DeadLetterQuery::default()
    };
    for (name, value) in parameters {
        match name.as_str() {
            "handler" => query.handler = Some(value.clone()),
            "type" => query.event_type = Some(value.clone()),
            "class" => query.class = Some(class(value)?),
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
            _ => {
                let known = PARAMETERS.join(", ");
                return Err(format!("there is no parameter `{name}`; known: {known}"));
            }
        }
    }
    Ok(query)
}

fn class(text: &str) -> Result<FailureClass, String> {
    let mut classes = FailureClass::ALL.into_iter();
    classes.find(|class| class.as_str() == text).ok_or_else(|| {
        let known = FailureClass::ALL.map(FailureClass::as_str).join(", ");
        format!("`class` must be one of {known}, not `{text}`")
    })
}

fn page_as_json(page: &DeadLetterPage) -> String {
    let mut text = String::from("{\"dead_letters\":[");
    for (number, letter) in page.letters.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        letter.write_summary(&mut text);
    }
    let last = page.letters.last().filter(|_| page.has_more);
    let next = last.map_or("null".to_owned(), |letter| letter.sequence.to_string());
    let DeadLetterPage {
        kept, overflowed, ..
    } = page;
    text.push_str(&format!(
        "],\"next_after\":{next},\"kept\":{kept},\"overflowed\":{overflowed}}}"
    ));
    text
}

fn json(text: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(text)
}

fn absent() -> HttpResponse {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "the process is starting or stopping, and has no dead letters to show",
    )
}
