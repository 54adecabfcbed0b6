//! How commands reach a running process: requests to its admin server, found by `--admin` or by the config.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;

use crate::admin::USER_HEADER;
use crate::cli::ConfigArgs;
use crate::components::Components;
use crate::config::{self, Place, Problems};
use crate::http_client::{Answer, Endpoint, HeaderOptions, HttpClient, Message};

/// Time for an answer of the admin server, body included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Which process is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminArgs {
    /// The admin server of the running process, such as http://127.0.0.1:8686. Without it: `service.admin.listen` of the
    /// config.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,

    #[command(flatten)]
    config: ConfigArgs,
}

/// Asks one process's admin server.
#[derive(Debug)]
pub(crate) struct AdminClient {
    /// Without a slash at its end.
    base: String,
    /// Where the address was found, for errors.
    found_in: String,
}

/// Why there is no answer to show.
#[derive(Debug)]
pub(crate) enum AdminError {
    /// The command line cannot be meant so, or the server refuses a parameter.
    Usage(String),
    /// The config that should name the server is bad.
    BadConfig(Problems),
    /// Nobody answers, or it is not what was asked for.
    Failed(String),
}

impl AdminError {
    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::BadConfig(_) => crate::cli::BAD_CONFIG,
            Self::Failed(_) => 1,
        })
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => writeln!(formatter, "error: {message}"),
            Self::BadConfig(problems) => writeln!(
                formatter,
                "{problems}help: the config is read for `service.admin.listen` only; `--admin URL` asks a process without it"
            ),
        }
    }
}

impl AdminClient {
    /// The client of the process that the arguments mean.
    ///
    /// # Errors
    /// The URL or the config is bad, or the config has no admin server.
    pub(crate) fn locate(args: &AdminArgs, components: &Components) -> Result<Self, AdminError> {
        if let Some(url) = &args.admin {
            return Self::at(url);
        }
        let files = config::locate(&args.config.files).map_err(AdminError::BadConfig)?;
        let (config, _) = config::load(&files, components, Place::Elsewhere, config::environment())
            .map_err(AdminError::BadConfig)?;
        let files: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let files = files.join(", ");
        let Some(admin) = config.service.admin else {
            return Err(AdminError::Failed(format!(
                "the admin server is off unless `service.admin.listen` is set, and {files} does not set it; set it and \
                 start the process again, or name another one with `--admin URL`"
            )));
        };
        if admin.listen.port() == 0 {
            return Err(AdminError::Failed(format!(
                "`service.admin.listen` of {files} lets the system choose the port; give the address that the process \
                 logged as `admin listening` with `--admin URL`"
            )));
        }
        Ok(Self {
            base: format!("http://{}", admin.listen),
            found_in: format!("`service.admin.listen` of {files}"),
        })
    }

    /// The client of the admin server at `url`, where `http://` may be left out.
    fn at(url: &str) -> Result<Self, AdminError> {
        let url = match url.contains("://") {
            true => url.to_owned(),
            false => format!("http://{url}"),
        };
        let base = url.trim_end_matches('/').to_owned();
        endpoint(&base).map_err(|why| AdminError::Usage(format!("`--admin {url}`: {why}")))?;
        Ok(Self {
            base,
            found_in: "`--admin`".to_owned(),
        })
    }

    /// The JSON that the server answers at `path`, such as `/api/dead-letters`. Values are encoded here.
    ///
    /// # Errors
    /// Nobody answers in time, or the server refuses; its reason is the error's.
    pub(crate) fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, AdminError> {
        let mut url = format!("{}{path}", self.base);
        if !query.is_empty() {
            let mut encoded = reqwest::Url::parse(&url)
                .map_err(|error| AdminError::Usage(format!("`{url}`: {error}")))?;
            encoded.query_pairs_mut().extend_pairs(query);
            url = encoded.into();
        }
        self.ask(&url, None)
    }

    /// What the server answers to the order at `path`, such as `/api/dead-letters/purge`.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub(crate) fn post(&self, path: &str, order: &Value) -> Result<Value, AdminError> {
        let mut headers = HeaderMap::new();
        if let Ok(user) = HeaderValue::from_str(&user()) {
            headers.insert(USER_HEADER, user);
        }
        let message = Message::json(order.to_string(), headers);
        self.ask(&format!("{}{path}", self.base), Some(message))
    }

    fn ask(&self, url: &str, message: Option<Message>) -> Result<Value, AdminError> {
        let endpoint = endpoint(url).map_err(AdminError::Usage)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| AdminError::Failed(format!("cannot start an event loop: {error}")))?;
        let answer = runtime.block_on(async {
            let client = HttpClient::new(&endpoint, ANSWER_TIMEOUT)?;
            let answer = match message {
                Some(message) => client.post(message, ANSWER_BYTES_MAX).await,
                None => client.get(ANSWER_BYTES_MAX).await,
            };
            answer.map_err(|error| error.to_string())
        });
        match answer {
            Ok(answer) => self.read(&endpoint, answer),
            Err(why) => Err(AdminError::Failed(format!(
                "{why} (the address is from {}); is the process running, and is this its admin server?",
                self.found_in
            ))),
        }
    }

    fn read(&self, endpoint: &Endpoint, answer: Answer) -> Result<Value, AdminError> {
        let shown = endpoint.shown();
        if let Some(error) = &answer.body_error {
            return Err(AdminError::Failed(format!("{error} from `{shown}`")));
        }
        if answer.is_cut {
            return Err(AdminError::Failed(format!(
                "the answer of `{shown}` has more than {ANSWER_BYTES_MAX} bytes"
            )));
        }
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let media_type = answer.headers.get(CONTENT_TYPE);
        let is_problem = media_type
            .is_some_and(|value| value.as_bytes().starts_with(b"application/problem+json"));
        match body {
            Some(body) if answer.status.is_success() => Ok(body),
            Some(problem) if is_problem => {
                let detail = problem["detail"].as_str().unwrap_or("no reason given");
                Err(match answer.status.as_u16() {
                    400 => AdminError::Usage(detail.to_owned()),
                    _ => AdminError::Failed(detail.to_owned()),
                })
            }
            _ => Err(AdminError::Failed(format!(
                "`{shown}` answered {} and no JSON of ours; the address is from {}: is it the admin server of a veltrix of \
                 this version?",
                answer.status, self.found_in
            ))),
        }
    }
}

/// Who runs the command, as the audit log names them.
pub(crate) fn user() -> String {
    let id = rustix::process::getuid().as_raw();
    match std::env::var("USER") {
        Ok(name) => format!("{name} ({id})"),
        Err(_) => id.to_string(),
    }
}

fn endpoint(url: &str) -> Result<Endpoint, String> {
    Endpoint::prepare(url, &HeaderOptions::default()).map_err(|problems| {
        let whys: Vec<String> = problems.into_iter().map(|(_, why)| why).collect();
        whys.join("; ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_and_without_its_scheme() {
        for url in [
            "127.0.0.1:8686",
            "http://127.0.0.1:8686",
            "http://127.0.0.1:8686/",
        ] {
            assert_eq!(AdminClient::at(url).unwrap().base, "http://127.0.0.1:8686");
        }
        let error = AdminClient::at("ftp://x").unwrap_err();
        assert!(
            error.to_string().contains("use `http` or `https`"),
            "{error}"
        );
        assert!(matches!(error, AdminError::Usage(_)));
    }

    #[test]
    fn a_server_that_is_not_there_is_a_failure_that_names_the_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let client = AdminClient::at(&address.to_string()).unwrap();
        let error = client.get("/api/tree", &[]).unwrap_err().to_string();
        assert!(
            error.contains(&format!("http://{address}/api/tree")),
            "{error}"
        );
        assert!(error.contains("is the process running"), "{error}");
    }
}
