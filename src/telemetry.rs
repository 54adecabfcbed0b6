//! Logs: structured lines on standard error, which they share with the status line.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use indicatif::MultiProgress;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line each.
    Text,
    /// One JSON object each.
    Json,
}

/// The terminal's bars. Global, because log lines from any thread have to get out of their way.
static TERMINAL: OnceLock<MultiProgress> = OnceLock::new();

/// Starts logging; the first call in a process counts. Panics become log lines as well.
pub(crate) fn start(format: LogFormat, level: LevelFilter) {
    let uses_colour = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // The web server tells at info what only its own developers want to know.
    let filter = Targets::new()
        .with_default(level)
        .with_target("actix_server", level.min(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer().with_writer(AroundBars);
    let started = match format {
        LogFormat::Text => {
            let lines = lines.with_ansi(uses_colour).with_filter(filter);
            tracing::subscriber::set_global_default(Registry::default().with(lines))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter(filter);
            tracing::subscriber::set_global_default(Registry::default().with(lines))
        }
    };
    if started.is_ok() {
        veltrix_actors::install_panic_hook();
    }
}

/// Where bars are shown, if standard error is a terminal.
pub(crate) fn terminal() -> Option<&'static MultiProgress> {
    io::stderr()
        .is_terminal()
        .then(|| TERMINAL.get_or_init(MultiProgress::new))
}

/// Writes log lines to standard error, with the bars taken away meanwhile.
struct AroundBars;

impl<'a> MakeWriter<'a> for AroundBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for AroundBars {
    /// Writes all at once, so that no other thread's line gets into its middle.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().lock().write_all(bytes);
        match TERMINAL.get() {
            Some(bars) => bars.suspend(write)?,
            None => write()?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
