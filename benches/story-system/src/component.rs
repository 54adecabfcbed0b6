//! A component as teams write them: one process, one thread, one feed of events, handlers with retries, one connection
//! to its sink. What comes in one read is worked on and answered with one write.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Context;
use veltrix_actors::{Intake, TypeCache, detached_types};

use crate::lanes::Lanes;
use crate::outlet::Outlet;
use crate::plant::Plant;
use crate::work::WorkOptions;
use crate::worker::Worker;

/// Works on events and sends the results.
pub(crate) struct Component {
    types: TypeCache,
    /// The types that it wants, if its feed brings others, too.
    wanted: Option<HashSet<String>>,
    plant: Plant,
    way: Way,
}

/// How it goes through its events.
enum Way {
    /// One after the other, without a queue between reading and writing.
    Straight(Box<(Worker, Outlet)>),
    /// Some at a time, because it waits for others.
    Lanes(Lanes),
}

impl Component {
    /// Connects to the sink. The harness takes the connection as a sign that the component is ready, so its feed comes first.
    pub(crate) async fn connect(
        (sink, is_http): (SocketAddr, bool),
        options: &WorkOptions,
        plant: Plant,
    ) -> anyhow::Result<Self> {
        let outlet = Outlet::connect(sink, is_http)
            .await
            .with_context(|| format!("connecting to the sink at {sink}"))?;
        plant.start();
        Ok(Self {
            types: detached_types(),
            wanted: None,
            plant,
            way: match options.wait_us {
                0 => Way::Straight(Box::new((Worker::new(options), outlet))),
                _ => Way::Lanes(Lanes::new(options, outlet)),
            },
        })
    }

    /// Has it pass over events of other types.
    pub(crate) fn filter(&mut self, wanted: impl IntoIterator<Item = String>) {
        self.wanted = Some(wanted.into_iter().collect());
    }

    /// Works on the events of `text`, each with its newline, and sends the results. Lines that are no events are passed
    /// over.
    pub(crate) async fn handle(&mut self, text: String) {
        let mut intake = Intake::over(text);
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &intake.text().as_bytes()[start..]) {
            // A malformed line has no place to go but a log, which is the same in all systems: off.
            intake
                .parse(start..start + length, &mut self.types)
                .unwrap_or_default();
            start += length + 1;
        }
        let wanted = self.wanted.as_ref();
        let is_wanted = |index: &usize| {
            wanted.is_none_or(|wanted| wanted.contains(&*intake.event(*index).event_type()))
        };
        match &mut self.way {
            Way::Straight(both) => {
                let (worker, outlet) = &mut **both;
                for index in (0..intake.len()).filter(is_wanted) {
                    let event = intake.event(index);
                    if let Some(number) = worker.handle(&event).await {
                        let start = outlet.text().len();
                        worker.write_result(&event, outlet.text());
                        self.plant.spoil(number, outlet.text(), start).await;
                    }
                }
                outlet.flush().await;
            }
            Way::Lanes(lanes) => {
                let indexes: Vec<usize> = (0..intake.len()).filter(is_wanted).collect();
                let intake = Rc::new(intake);
                for index in indexes {
                    lanes.handle(&intake, index).await;
                }
            }
        }
    }

    /// Waits until the results of everything are sent, so that it can be acknowledged.
    pub(crate) async fn finish(&self) {
        match &self.way {
            Way::Straight(both) => both.1.finish().await,
            Way::Lanes(lanes) => lanes.finish().await,
        }
    }
}
