//! Reads a request's body within its limits of size, time and memory.

use std::io::{self, Write};
use std::sync::Arc;

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::{HttpRequest, web};
use flate2::write::MultiGzDecoder;
use futures::StreamExt;
use tokio::time::timeout;
use veltrix_actors::{Charge, MemoryBudget};

use super::Settings;
use super::problem::Problem;

/// A body in memory.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Many bodies may arrive at once, so they count against the budget like the events that they become.
    _charge: Charge,
}

/// Reads the body to its end.
pub(super) async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    settings: &Settings,
    budget: &Arc<MemoryBudget>,
) -> Result<Body, Problem> {
    let is_gzip = is_gzip(request, settings)?;
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > settings.body_bytes_max) {
        return Err(Problem::too_large(settings.body_bytes_max));
    }
    let collector = Collector {
        bytes: Vec::with_capacity(announced.unwrap_or_default().min(FIRST_BYTES_MAX)),
        bytes_max: settings.body_bytes_max,
        charge: budget.charge(0),
        charged: 0,
        budget: budget.clone(),
        refusal: None,
    };
    let collect = collect(payload, collector, is_gzip);
    match timeout(settings.body_timeout, collect).await {
        Ok(body) => body,
        Err(_) => Err(Problem::too_slow(settings.body_timeout)),
    }
}

/// Room that an announced length is given before anything arrived.
const FIRST_BYTES_MAX: usize = 64 * 1024;
/// Compressed bytes that are decoded before the limits are looked at again.
const GZIP_STEP_BYTES: usize = 4 * 1024;

fn is_gzip(request: &HttpRequest, settings: &Settings) -> Result<bool, Problem> {
    let mut encodings = request.headers().get_all(CONTENT_ENCODING);
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(false),
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"identity") => Ok(false),
        (Some(one), None)
            if settings.is_gzip_allowed && one.as_bytes().eq_ignore_ascii_case(b"gzip") =>
        {
            Ok(true)
        }
        _ => Err(Problem::encoding(settings.is_gzip_allowed)),
    }
}

async fn collect(
    mut payload: web::Payload,
    collector: Collector,
    is_gzip: bool,
) -> Result<Body, Problem> {
    let mut reader = match is_gzip {
        true => Reader::Gzip(Box::new(MultiGzDecoder::new(collector))),
        false => Reader::Plain(collector),
    };
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Problem::broken_body(&error))?;
        reader.take(&chunk)?;
    }
    reader.finish()
}

enum Reader {
    Plain(Collector),
    Gzip(Box<MultiGzDecoder<Collector>>),
}

impl Reader {
    fn take(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        match self {
            Self::Plain(collector) => collector
                .write_all(chunk)
                .map_err(|error| collector.problem(&error)),
            Self::Gzip(decoder) => {
                for step in chunk.chunks(GZIP_STEP_BYTES) {
                    let written = decoder.write_all(step).and_then(|()| decoder.flush());
                    written.map_err(|error| decoder.get_mut().problem(&error))?;
                }
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Body, Problem> {
        let collector = match self {
            Self::Plain(collector) => collector,
            Self::Gzip(mut decoder) => match decoder.try_finish() {
                Ok(()) => std::mem::replace(decoder.get_mut(), Collector::spent()),
                Err(error) => return Err(decoder.get_mut().problem(&error)),
            },
        };
        Ok(Body {
            bytes: collector.bytes,
            _charge: collector.charge,
        })
    }
}

/// Gathers decoded bytes; refuses to grow beyond its limit and the budget.
#[derive(Debug)]
struct Collector {
    bytes: Vec<u8>,
    bytes_max: usize,
    budget: Arc<MemoryBudget>,
    charge: Charge,
    charged: usize,
    refusal: Option<Problem>,
}

impl Collector {
    fn spent() -> Self {
        let budget = MemoryBudget::new(0);
        Self {
            bytes: Vec::new(),
            bytes_max: 0,
            charge: budget.charge(0),
            charged: 0,
            budget,
            refusal: None,
        }
    }

    /// The refusal that made a write fail, or that the data could not be decoded.
    fn problem(&mut self, error: &io::Error) -> Problem {
        let refusal = self.refusal.take();
        refusal.unwrap_or_else(|| Problem::broken_body(error))
    }
}

impl Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            self.refusal = Some(Problem::too_large(self.bytes_max));
            return Err(io::Error::other("too large"));
        }
        self.bytes.extend_from_slice(bytes);
        if self.bytes.capacity() > self.charged {
            if !self.budget.has_room() {
                self.refusal = Some(Problem::busy());
                return Err(io::Error::other("no memory"));
            }
            self.charged = self.bytes.capacity();
            self.charge = self.budget.charge(self.charged);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
