//! What arrived at one sink, line by line, each compared with what was sent.

use std::borrow::Cow;

use serde::Deserialize;

use crate::workload::Workload;

/// Broken lines that are shown; all are counted.
const SHOWN: usize = 5;
const SHOWN_CHARS: usize = 300;

/// One delivery of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Who sent it.
    pub(crate) client: u16,
    /// The how manieth of its client.
    pub(crate) number: u32,
    /// Which process delivered it.
    pub(crate) epoch: u16,
}

/// All deliveries to one sink, in order.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// The whole ones.
    pub(crate) whole: Vec<Arrival>,
    /// How many are not as they were sent.
    pub(crate) broken: u64,
    /// The first of those.
    pub(crate) shown: Vec<String>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    client: u16,
    number: u32,
    #[serde(borrow)]
    payload: Cow<'a, str>,
    hash: Cow<'a, str>,
}

/// What a sink's events look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// What the handler adds to the id: `.NAME.0` of a derived result, nothing where the event passes on.
    pub(crate) id_end: &'static str,
    /// The type of a derived result.
    pub(crate) event_type: Option<&'static str>,
}

impl Arrivals {
    /// Takes one delivered event in.
    pub(crate) fn take(&mut self, line: &[u8], epoch: u16, workload: &Workload, shape: Shape) {
        match read(line, epoch, workload, shape) {
            Ok(arrival) => self.whole.push(arrival),
            Err(problem) => {
                self.broken += 1;
                if self.shown.len() < SHOWN {
                    let text: String = String::from_utf8_lossy(line)
                        .chars()
                        .take(SHOWN_CHARS)
                        .collect();
                    self.shown
                        .push(format!("process {epoch}: {problem}: {text}"));
                }
            }
        }
    }

    /// Takes the lines of a file in; `ends` has the file's size at the end of each process but the last.
    pub(crate) fn take_file(
        &mut self,
        text: &[u8],
        ends: &[u64],
        workload: &Workload,
        shape: Shape,
    ) {
        let (mut start, mut epoch) = (0, 0);
        while start < text.len() {
            let rest = &text[start..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            while ends
                .get(usize::from(epoch))
                .is_some_and(|end| start as u64 >= *end)
            {
                epoch += 1;
            }
            match end {
                Some(end) => self.take(&rest[..end], epoch, workload, shape),
                // A torn line, which is no event.
                None => self.take(rest, epoch, workload, shape),
            }
            start += end.unwrap_or(rest.len()) + 1;
        }
    }
}

fn read(
    line: &[u8],
    epoch: u16,
    workload: &Workload,
    shape: Shape,
) -> Result<Arrival, Cow<'static, str>> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let Data {
        client,
        number,
        payload,
        hash,
    } = line.data;
    if client >= workload.clients() {
        return Err("there is no such client".into());
    }
    let key = workload.key(client, number);
    let id = format!("c{client}-{number}{}", shape.id_end);
    let event_type = shape.event_type.unwrap_or(Workload::event_type(key));
    if line.id != id || line.subject != format!("k{key}") || line.event_type != event_type {
        return Err("its id, type or subject is another event's".into());
    }
    if payload != workload.payload(client, number) {
        return Err(format!("its payload is not the one with hash {hash}").into());
    }
    Ok(Arrival {
        client,
        number,
        epoch,
    })
}
