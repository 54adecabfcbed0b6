//! The server's life: bound, serving on threads of its own, drained.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_http::HttpService;
use actix_server::{Server, ServerHandle};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, web};
use futures::future::LocalBoxFuture;
use tokio::net::{TcpListener, TcpStream};
use veltrix_actors::{HeldSocket, Listening, Source, SourcePort, StartError};

use super::connection::Connection;
use super::receive::{Receiver, receive};
use super::{Settings, listening};

/// Seconds that requests under way have once the source drains; then their connections are closed.
const LAST_REQUESTS_SECONDS: u64 = 5;
/// How long a connection that is being closed may take to read its last answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct HttpSource {
    pub(super) listening: Arc<Listening>,
    pub(super) settings: Arc<Settings>,
}

impl Source for HttpSource {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        Box::pin(async move {
            let (listener, held) = listening::bind(port.name(), &self.listening).await?;
            serve((listener, held), self.settings, port).await
        })
    }
}

/// Serves until the source drains, then answers the requests under way.
pub(super) async fn serve(
    (listener, held): (TcpListener, HeldSocket<'_>),
    settings: Arc<Settings>,
    port: SourcePort,
) -> Result<(), StartError> {
    let is_stopping = Arc::new(AtomicBool::new(false));
    let server = server(listener, settings, &port, is_stopping.clone())
        .map_err(|error| StartError(format!("cannot serve HTTP: {error}")))?;
    let guard = StopOnDrop(server.handle());
    // On its own, so that it still gets the order to stop when this future is dropped.
    let mut running = actix_rt::spawn(server);
    port.report_ready();
    tokio::select! {
        biased;
        () = port.draining() => {}
        ended = &mut running => {
            let why = match ended {
                Ok(Ok(())) => "it stopped by itself".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            return Err(StartError(format!("the HTTP server is gone: {why}")));
        }
    }
    is_stopping.store(true, Ordering::Release);
    drop(held);
    tracing::debug!(source = port.name(), "only requests under way are answered");
    guard.0.stop(true).await;
    Ok(())
}

/// Stops the server's threads when the source is gone before it drained.
struct StopOnDrop(ServerHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // The order is sent at once; only waiting for its end takes a future.
        drop(self.0.stop(false));
    }
}

fn server(
    listener: TcpListener,
    settings: Arc<Settings>,
    port: &SourcePort,
    is_stopping: Arc<AtomicBool>,
) -> std::io::Result<Server> {
    let (submitter, stats, budget) = (
        port.submitter(),
        port.stats().clone(),
        port.budget().clone(),
    );
    let types = port.types();
    let shared = settings.clone();
    let application = move || {
        let receiver = Receiver {
            settings: shared.clone(),
            submitter: submitter.clone(),
            stats: stats.clone(),
            budget: budget.clone(),
            types: RefCell::new(types.clone()),
            is_stopping: is_stopping.clone(),
        };
        App::new()
            .app_data(web::Data::new(receiver))
            .default_service(web::to(receive))
    };
    let (threads, connections_max) = (settings.threads, settings.connections_max);
    let builder = Server::build()
        .workers(threads)
        .max_concurrent_connections(connections_max.div_ceil(threads))
        .shutdown_timeout(LAST_REQUESTS_SECONDS)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    // What `actix_web::HttpServer` does, but over our own kind of connection.
    let connections = move || {
        let stopping = stopping.clone();
        let (head_timeout, idle_timeout) = (settings.head_timeout, settings.idle_timeout);
        let application = application().into_factory();
        // The host and address in it are for links, and no answer has any.
        let application = map_config(application, |_| AppConfig::default());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(idle_timeout)
            .client_request_timeout(head_timeout)
            .client_disconnect_timeout(CLOSE_TIMEOUT)
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.activity());
            })
            .h1(application);
        fn_service(move |stream: TcpStream| async move {
            let sender = stream.peer_addr().ok();
            let connection = Connection::new(stream, head_timeout, idle_timeout);
            Ok((connection, sender))
        })
        .and_then(http)
    };
    let server = builder.listen("http", listener.into_std()?, connections)?;
    Ok(server.run())
}
