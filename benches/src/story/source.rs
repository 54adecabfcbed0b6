//! The source of events: which connections an event goes over, and how they come about.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, bail};

use super::events::{COMPONENTS, Events};
use super::feeder::Feeder;
use super::frame::Frame;
use super::schedule::Schedule;

const GREETING_BYTES: usize = 4096;

/// Where events go.
pub(crate) enum Source {
    /// To each component that has subscribed.
    Direct {
        listener: TcpListener,
        /// Connections that have not said yet whose they are.
        greeting: Vec<(TcpStream, Vec<u8>)>,
        subscribers: Vec<Subscriber>,
    },
    /// To one address: a broker or Veltrix.
    Single { address: SocketAddr, feeder: Feeder },
}

/// A component at the source.
pub(crate) struct Subscriber {
    feeder: Feeder,
    groups: [bool; COMPONENTS],
}

impl Source {
    pub(crate) fn direct() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let subscriber = || Subscriber {
            feeder: Feeder::new(Frame::Line),
            groups: [false; COMPONENTS],
        };
        Ok(Self::Direct {
            listener,
            greeting: Vec::new(),
            subscribers: (0..COMPONENTS).map(|_| subscriber()).collect(),
        })
    }

    pub(crate) fn single(address: SocketAddr, frame: Frame) -> Self {
        Self::Single {
            address,
            feeder: Feeder::new(frame),
        }
    }

    /// The address that components connect to.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Direct { listener, .. } => listener.local_addr(),
            Self::Single { address, .. } => Ok(*address),
        }
    }

    pub(crate) fn feeders(&mut self) -> impl Iterator<Item = &mut Feeder> {
        let (many, one) = match self {
            Self::Direct { subscribers, .. } => (Some(subscribers), None),
            Self::Single { feeder, .. } => (None, Some(feeder)),
        };
        let many = many.into_iter().flatten();
        many.map(|subscriber| &mut subscriber.feeder).chain(one)
    }

    /// Whether every connection is there.
    pub(crate) fn is_connected(&mut self) -> bool {
        self.feeders().all(|feeder| feeder.stream().is_some())
    }

    /// Takes and makes the connections that are not there.
    ///
    /// # Errors
    /// If a component says what cannot be understood.
    pub(crate) fn connect(&mut self, events: &Events) -> anyhow::Result<()> {
        match self {
            Self::Direct {
                listener,
                greeting,
                subscribers,
            } => {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    greeting.push((stream, Vec::new()));
                }
                for (stream, said) in std::mem::take(greeting) {
                    greeting.extend(greet(stream, said, subscribers, events)?);
                }
            }
            Self::Single { address, feeder } if feeder.stream().is_none() => {
                // Nobody listens while it starts.
                if let Ok(stream) = TcpStream::connect(*address) {
                    feeder.attach(stream)?;
                }
            }
            Self::Single { .. } => {}
        }
        Ok(())
    }

    /// Assigns an event to all who want it.
    pub(crate) fn emit(&mut self, number: u32, events: &Events, schedule: &Schedule) {
        match self {
            Self::Single { feeder, .. } => feeder.assign(number),
            Self::Direct { subscribers, .. } => {
                let line = usize::from(schedule.lines[number as usize]);
                let group = events.templates[line].group;
                for subscriber in subscribers.iter_mut().filter(|each| each.groups[group]) {
                    subscriber.feeder.assign(number);
                }
            }
        }
    }
}

/// Reads who is there; gives the connection back as long as it has not said it all.
fn greet(
    mut stream: TcpStream,
    mut said: Vec<u8>,
    subscribers: &mut [Subscriber],
    events: &Events,
) -> anyhow::Result<Option<(TcpStream, Vec<u8>)>> {
    let mut chunk = [0; GREETING_BYTES];
    match stream.read(&mut chunk) {
        Ok(0) => return Ok(None),
        Ok(bytes) => said.extend_from_slice(&chunk[..bytes]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => return Ok(None),
    }
    if said.last() != Some(&b'\n') {
        return Ok(Some((stream, said)));
    }
    let line = std::str::from_utf8(&said)?.trim_end();
    let (component, types) = line.split_once(' ').context("a component and its types")?;
    let Some(subscriber) = subscribers.get_mut(component.parse::<usize>()?) else {
        bail!("there is no component {component}");
    };
    let types: Vec<&str> = types.split(',').collect();
    subscriber.groups = std::array::from_fn(|group| {
        let is_wanted = |event_type: &String| types.contains(&event_type.as_str());
        types == ["*"] || events.groups[group].iter().any(is_wanted)
    });
    subscriber.feeder.attach(stream)?;
    Ok(None)
}
