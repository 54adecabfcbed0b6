//! Logs: structured lines on standard error, which they share with the status line.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use console::Term;
use indicatif::{MultiProgress, ProgressDrawTarget, TermLike};
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

/// How often the bars are drawn.
const DRAWN_PER_SECOND: u8 = 20;

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
        .then(|| TERMINAL.get_or_init(|| MultiProgress::with_draw_target(draw_target())))
}

/// Does something with the bars taken away meanwhile, if there are any.
pub(crate) fn around_bars<T>(act: impl FnOnce() -> T) -> T {
    match TERMINAL.get() {
        Some(bars) => bars.suspend(act),
        None => act(),
    }
}

fn draw_target() -> ProgressDrawTarget {
    ProgressDrawTarget::term_like_with_hz(Box::new(Screen(Term::stderr())), DRAWN_PER_SECOND)
}

/// The terminal at standard error, which may go away. What cannot be drawn there is not missed; indicatif would panic.
#[derive(Debug)]
struct Screen(Term);

impl Screen {
    fn draw(&self, draw: impl FnOnce(&Term) -> io::Result<()>) -> io::Result<()> {
        draw(&self.0).or(Ok(()))
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.draw(|term| term.move_cursor_up(lines))
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.draw(|term| term.move_cursor_down(lines))
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.draw(|term| term.move_cursor_right(columns))
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.draw(|term| term.move_cursor_left(columns))
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.draw(|term| term.write_line(line))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(|term| term.write_str(text))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw(Term::clear_line)
    }

    fn flush(&self) -> io::Result<()> {
        self.draw(Term::flush)
    }
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
    /// Writes all at once, so that no other thread's line gets into its middle. A log that nobody takes any more, such as
    /// that of a terminal that was closed, is no reason to stop: its lines are lost.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(around_bars(|| io::stderr().lock().write_all(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
