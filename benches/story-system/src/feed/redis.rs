//! Events from Redis by the usual client: from channels, or from streams, acknowledged once the results are sent.

use std::time::Duration;

use futures::FutureExt;
use futures::stream::StreamExt;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, AsyncConnectionConfig, Client, FromRedisValue};

use tokio::time::sleep;

use super::{CHUNK_BYTES, ComponentOptions};
use crate::component::Component;

/// Entries of a stream that are read at a time.
const ENTRIES: usize = 1_000;
/// How long a read waits for an entry; then it is made again.
const BLOCK_MS: usize = 1_000;

fn client(options: &ComponentOptions) -> anyhow::Result<Client> {
    Ok(Client::open(format!("redis://{}/", options.from))?)
}

fn append(text: &mut String, payload: &[u8]) {
    // What is not text is no event.
    text.push_str(std::str::from_utf8(payload).unwrap_or_default());
    text.push('\n');
}

/// Pause before a connection that broke is made anew.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn run(options: &ComponentOptions) -> anyhow::Result<()> {
    let mut component = None;
    loop {
        match receive(options, &mut component).await {
            // The broker may be down for a moment.
            Ok(()) | Err(_) if component.is_some() => sleep(PAUSE).await,
            never_connected => return never_connected,
        }
    }
}

pub(super) async fn run_streams(options: &ComponentOptions) -> anyhow::Result<()> {
    let mut component = None;
    loop {
        match read_streams(options, &mut component).await {
            Ok(()) | Err(_) if component.is_some() => sleep(PAUSE).await,
            never_connected => return never_connected,
        }
    }
}

/// The component, which is connected to its sink once its feed is there.
async fn connected<'a>(
    options: &ComponentOptions,
    component: &'a mut Option<Component>,
) -> anyhow::Result<&'a mut Component> {
    if component.is_none() {
        *component = Some(options.component().await?);
    }
    Ok(component.as_mut().expect("it was just set"))
}

/// Until the connection breaks.
async fn receive(
    options: &ComponentOptions,
    component: &mut Option<Component>,
) -> anyhow::Result<()> {
    let mut channels = client(options)?.get_async_pubsub().await?;
    for group in &options.subscribe {
        channels.subscribe(format!("story.{group}")).await?;
    }
    let mut messages = channels.into_on_message();
    let component = connected(options, component).await?;
    while let Some(message) = messages.next().await {
        let mut text = String::new();
        append(&mut text, message.get_payload_bytes());
        while text.len() < CHUNK_BYTES
            && let Some(Some(message)) = messages.next().now_or_never()
        {
            append(&mut text, message.get_payload_bytes());
        }
        component.handle(text).await;
    }
    Ok(())
}

/// Until the connection breaks.
async fn read_streams(
    options: &ComponentOptions,
    component: &mut Option<Component>,
) -> anyhow::Result<()> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let mut connection = client(options)?
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let streams: Vec<String> = options
        .subscribe
        .iter()
        .map(|group| format!("story.{group}"))
        .collect();
    let name = format!("c{}", options.work.component);
    for stream in &streams {
        let made: redis::RedisResult<()> =
            connection.xgroup_create_mkstream(stream, &name, "0").await;
        // After a restart the group is there already.
        if let Err(error) = made
            && error.code() != Some("BUSYGROUP")
        {
            return Err(error.into());
        }
    }
    let component = connected(options, component).await?;
    // What was handed to this component before it was restarted, then what is new.
    let mut from = "0";
    loop {
        let read = StreamReadOptions::default()
            .group(&name, &name)
            .count(ENTRIES)
            .block(BLOCK_MS);
        let places = vec![from; streams.len()];
        let reply: Option<StreamReadReply> =
            connection.xread_options(&streams, &places, &read).await?;
        let keys = reply.map(|reply| reply.keys).unwrap_or_default();
        if keys.iter().all(|key| key.ids.is_empty()) {
            from = ">";
            continue;
        }
        let mut text = String::new();
        let mut done = redis::pipe();
        for key in &keys {
            let ids: Vec<&str> = key.ids.iter().map(|entry| entry.id.as_str()).collect();
            for entry in &key.ids {
                let payload = entry.map.get("e").cloned().unwrap_or(redis::Value::Nil);
                append(&mut text, &Vec::<u8>::from_redis_value(payload)?);
            }
            done.xack(&key.key, &name, &ids).ignore();
        }
        component.handle(text).await;
        component.finish().await;
        done.exec_async(&mut connection).await?;
    }
}
