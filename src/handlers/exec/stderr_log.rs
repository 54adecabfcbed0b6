//! What a child writes to its standard error, as log lines: cut where they are long, and limited in number.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::oneshot;
use veltrix_actors::LogLimit;

use crate::config::Mask;

/// Bytes of a line that are logged.
const LINE_BYTES_MAX: usize = 2048;
/// Lines of one child that are logged in a second.
const LINES_PER_SECOND_MAX: u32 = 50;
/// Time to read a child's last words after it was given up; somebody else may hold its standard error open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Logs until the child closes the pipe, or for a moment longer than its owner holds on to the sender of `owner`.
pub(super) async fn log(
    stderr: impl AsyncRead + Unpin,
    handler: String,
    mask: Mask,
    pid: i32,
    owner: oneshot::Receiver<()>,
) {
    let mut show = |line: &str, suppressed: u64| {
        if suppressed > 0 {
            tracing::info!(
                handler,
                pid,
                suppressed,
                "lines of the command's standard error were left out"
            );
        }
        tracing::info!(handler, pid, "{}", mask.hide(line));
    };
    let reading = read(stderr, &mut show);
    tokio::pin!(reading);
    tokio::select! {
        () = &mut reading => return,
        _gone = owner => {}
    }
    if tokio::time::timeout(LAST_WORDS, reading).await.is_err() {
        tracing::debug!("a command's standard error stayed open after its end");
    }
}

async fn read(stderr: impl AsyncRead + Unpin, show: &mut impl FnMut(&str, u64)) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut limit = LogLimit::new(LINES_PER_SECOND_MAX);
    let mut end = |line: &mut Vec<u8>| {
        if !line.is_empty()
            && let Some(suppressed) = limit.admit(Instant::now())
        {
            show(&shown(line), suppressed);
        }
        line.clear();
    };
    loop {
        // A pipe that cannot be read has ended, as far as its log is concerned.
        let chunk = reader.fill_buf().await.unwrap_or_default();
        if chunk.is_empty() {
            return end(&mut line);
        }
        let newline = memchr::memchr(b'\n', chunk);
        let text = &chunk[..newline.unwrap_or(chunk.len())];
        let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&text[..text.len().min(room)]);
        let consumed = newline.map_or(chunk.len(), |at| at + 1);
        reader.consume(consumed);
        if newline.is_some() {
            end(&mut line);
        }
    }
}

/// A line without control characters, which could forge other log lines on a terminal.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]);
    let mut text: String = text
        .trim_end()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.len() > LINE_BYTES_MAX {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn long_lines_are_cut_and_control_characters_left_out() {
        let text = format!("a\tb\x1b[31m\r\n\n{}\nend", "x".repeat(10_000));
        let mut lines = Vec::new();
        read(text.as_bytes(), &mut |line, _| lines.push(line.to_owned())).await;
        assert_eq!(lines[0], "a b [31m");
        assert_eq!(lines[1].len(), LINE_BYTES_MAX + 3);
        assert_eq!(lines[2..], ["end"]);
    }
}
