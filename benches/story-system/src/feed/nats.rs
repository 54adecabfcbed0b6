//! Events from NATS by its official client: in memory, or from JetStream's files, acknowledged once the results are sent.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config as StreamConfig, StorageType};
use async_nats::{Client, ConnectOptions};
use futures::FutureExt;
use futures::stream::{StreamExt, select_all};

use super::{CHUNK_BYTES, ComponentOptions};

/// Messages that may wait in the client, and at the server without an acknowledgement.
const WAITING_MESSAGES: usize = 65_536;
/// Messages that JetStream hands out at a time.
const PULLED_MESSAGES: usize = 1_000;
/// How long JetStream waits for an acknowledgement before it sends a message again: long for a component that works, and
/// short beside its default of 30 s, so that one that was killed goes on soon.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(2);

async fn client(options: &ComponentOptions) -> anyhow::Result<Client> {
    let connect = ConnectOptions::new().subscription_capacity(WAITING_MESSAGES);
    Ok(connect.connect(options.from.to_string()).await?)
}

fn append(text: &mut String, payload: &[u8]) {
    // What is not text is no event.
    text.push_str(std::str::from_utf8(payload).unwrap_or_default());
    text.push('\n');
}

pub(super) async fn run(options: &ComponentOptions) -> anyhow::Result<()> {
    let client = client(options).await?;
    let mut subscribers = Vec::new();
    for group in &options.subscribe {
        subscribers.push(client.subscribe(format!("story.{group}.>")).await?);
    }
    client.flush().await?;
    let mut messages = select_all(subscribers);
    let mut component = options.component().await?;
    while let Some(message) = messages.next().await {
        let mut text = String::new();
        append(&mut text, &message.payload);
        while text.len() < CHUNK_BYTES
            && let Some(Some(message)) = messages.next().now_or_never()
        {
            append(&mut text, &message.payload);
        }
        component.handle(text).await;
    }
    Ok(())
}

pub(super) async fn run_jetstream(options: &ComponentOptions) -> anyhow::Result<()> {
    let context = async_nats::jetstream::new(client(options).await?);
    let stream = context
        .get_or_create_stream(StreamConfig {
            name: "story".to_owned(),
            subjects: vec!["story.>".to_owned()],
            storage: StorageType::File,
            ..StreamConfig::default()
        })
        .await?;
    let mut pulls = Vec::new();
    for group in &options.subscribe {
        let name = format!("c{}-{group}", options.work.component);
        let consumer = stream
            .get_or_create_consumer(
                &name,
                pull::Config {
                    durable_name: Some(name.clone()),
                    filter_subject: format!("story.{group}.>"),
                    // Acknowledging the last one for all before it would end what a killed component had not worked on.
                    ack_policy: AckPolicy::Explicit,
                    ack_wait: ACKNOWLEDGED_WITHIN,
                    max_ack_pending: i64::try_from(WAITING_MESSAGES)?,
                    ..pull::Config::default()
                },
            )
            .await?;
        let pull = consumer.stream().max_messages_per_batch(PULLED_MESSAGES);
        let messages = pull.messages().await?;
        pulls.push(messages.boxed_local());
    }
    let mut messages = select_all(pulls);
    let mut component = options.component().await?;
    while let Some(first) = messages.next().await {
        let (mut text, mut taken) = (String::new(), Vec::new());
        let mut next = Some(first);
        while let Some(message) = next {
            let message = message?;
            append(&mut text, &message.payload);
            taken.push(message);
            next = match text.len() < CHUNK_BYTES {
                true => messages.next().now_or_never().flatten(),
                false => None,
            };
        }
        component.handle(text).await;
        component.finish().await;
        for message in taken {
            // It is written with others, and nobody waits for an answer to it.
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
        }
    }
    Ok(())
}
