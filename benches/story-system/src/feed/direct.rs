//! Events straight from the source: one line says what the component wants, and events come, one a line.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{CHUNK_BYTES, ComponentOptions, Feed};

pub(super) async fn run(options: &ComponentOptions) -> anyhow::Result<()> {
    let mut component = options.component().await?;
    let mut stream = TcpStream::connect(options.from).await?;
    stream.set_nodelay(true)?;
    let wanted = if options.feed == Feed::DirectUnfiltered {
        component.filter(options.subscribe.iter().cloned());
        "*".to_owned()
    } else {
        options.subscribe.join(",")
    };
    let name = options.work.component;
    stream
        .write_all(format!("{name} {wanted}\n").as_bytes())
        .await?;
    let mut buffer = Vec::with_capacity(CHUNK_BYTES);
    loop {
        stream.readable().await?;
        match stream.try_read_buf(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        let Some(end) = memchr::memrchr(b'\n', &buffer) else {
            buffer.reserve(CHUNK_BYTES);
            continue;
        };
        let mut rest = Vec::with_capacity(CHUNK_BYTES.max(2 * (buffer.len() - end)));
        rest.extend_from_slice(&buffer[end + 1..]);
        buffer.truncate(end + 1);
        let lines = std::mem::replace(&mut buffer, rest);
        component.handle(String::from_utf8(lines)?).await;
    }
}
