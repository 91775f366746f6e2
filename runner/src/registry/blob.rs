//! Content by its digest: fetched in one stream, checked while it passes, taken up again where the
//! connection broke.
//!
//! ```text
//!  GET ── bytes ──> counted, hashed ──> reader       breaks: GET with Range, from there on
//!                     │ size reached: one more look, digest compared, only then the end
//! ```

use super::RegistryError;
use super::client::{ATTEMPTS, Ask, Client, pause, reason};
use super::digest::Hasher;
use super::manifest::Descriptor;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use ureq::BodyReader;
use ureq::http::{StatusCode, header};

/// After so many bytes without a break, patience is as new.
const PROGRESS: u64 = 1 << 20;

/// Where the reader leaves its error, since whoever reads turns it into one of his own.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<RegistryError>>>);

impl Fault {
    /// The error of the reader, if there was one.
    pub(super) fn take(&self) -> Option<RegistryError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, error: RegistryError) -> io::Error {
        let told = io::Error::other(error.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        told
    }
}

/// A reader of one blob: it ends without an error only after exactly the right bytes.
pub(super) struct Blob<'a> {
    client: &'a Client,
    at: String,
    scope: &'a str,
    what: String,
    wanted: Descriptor,
    hasher: Hasher,
    offset: u64,
    /// Where the connection last broke.
    broke_at: u64,
    breaks: u32,
    body: Option<BodyReader<'static>>,
    done: bool,
    fault: Fault,
}

impl<'a> Blob<'a> {
    /// A blob of a repository, not asked for yet; `what` it is, for messages.
    pub(super) fn new(
        client: &'a Client,
        repository: &str,
        scope: &'a str,
        wanted: &Descriptor,
        what: String,
    ) -> Self {
        Self {
            client,
            at: format!("/v2/{repository}/blobs/{}", wanted.digest),
            scope,
            what,
            wanted: wanted.clone(),
            hasher: Hasher::default(),
            offset: 0,
            broke_at: 0,
            breaks: 0,
            body: None,
            done: false,
            fault: Fault::default(),
        }
    }

    /// Where an error of the reader is left.
    pub(super) fn fault(&self) -> Fault {
        self.fault.clone()
    }

    /// All of it, for what is small; not longer than `longest` bytes.
    ///
    /// # Errors
    /// It cannot be fetched, or is not what it should be.
    pub(super) fn whole(mut self, longest: u64) -> Result<Vec<u8>, RegistryError> {
        if self.wanted.size > longest {
            return Err(self.wrong(format!("{} bytes; the most is {longest}", self.wanted.size)));
        }
        let fault = self.fault();
        let mut bytes = Vec::new();
        match self.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(e) => Err(fault.take().unwrap_or_else(|| self.wrong(e.to_string()))),
        }
    }

    fn wrong(&self, why: String) -> RegistryError {
        RegistryError::Wrong {
            what: self.what.clone(),
            why,
        }
    }

    /// Asks for what is missing.
    fn ask(&mut self) -> Result<BodyReader<'static>, RegistryError> {
        let what = self.what.clone();
        let mut ask = Ask::get(self.at.clone(), self.scope, &what);
        if self.offset > 0 {
            ask = ask.header(header::RANGE, format!("bytes={}-", self.offset));
        }
        let response = self.client.send(&ask)?;
        let wanted: &[_] = match self.offset {
            0 => &[StatusCode::OK],
            _ => &[StatusCode::OK, StatusCode::PARTIAL_CONTENT],
        };
        let response = self.client.expect(response, &what, wanted)?;
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let start = if partial { self.offset } else { 0 };
        if partial {
            let begins = format!("bytes {}-", self.offset);
            if !header(header::CONTENT_RANGE).is_some_and(|range| range.starts_with(&begins)) {
                return Err(
                    self.wrong("the registry sends another part than was asked for".to_owned())
                );
            }
        }
        if header(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(self.wrong("the registry sends it packed once more, unasked".to_owned()));
        }
        let length = header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let size = self.wanted.size;
        if let Some(length) = length.filter(|length| start.checked_add(*length) != Some(size)) {
            let length = start.saturating_add(length);
            return Err(self.wrong(format!("the registry sends {length} bytes, not {size}")));
        }
        let mut body = response.into_body().into_reader();
        if self.offset > start {
            // It does not do parts: what is here already passes once more.
            let skipped = io::copy(&mut (&mut body).take(self.offset), &mut io::sink());
            skipped.map_err(|e| self.wrong(e.to_string()))?;
        }
        Ok(body)
    }

    /// Reads once; `None` when the connection broke.
    fn step(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, RegistryError> {
        let left = self.wanted.size - self.offset;
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let body = self.ask()?;
                self.body.insert(body)
            }
        };
        if left == 0 {
            // An error here says nothing of the bytes, which are all there.
            return match body.read(&mut [0]) {
                Ok(1..) => Err(self.wrong(format!("more than {} bytes come", self.wanted.size))),
                _ => Ok(Some(0)),
            };
        }
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        match body.read(&mut buffer[..most]) {
            Ok(0) => self.broken(format!(
                "it ended after {} of {} bytes",
                self.offset, self.wanted.size
            )),
            Ok(read) => {
                self.hasher.update(&buffer[..read]);
                self.offset += read as u64;
                Ok(Some(read))
            }
            Err(e) => self.broken(reason(&ureq::Error::from(e))),
        }
    }

    /// Waits before the next attempt, or gives up.
    fn broken(&mut self, why: String) -> Result<Option<usize>, RegistryError> {
        self.body = None;
        if self.offset - self.broke_at >= PROGRESS {
            self.breaks = 0;
        }
        self.broke_at = self.offset;
        self.breaks += 1;
        if self.breaks >= ATTEMPTS {
            return Err(RegistryError::Broken {
                what: self.what.clone(),
                registry: self.client.host().name().to_owned(),
                times: self.breaks,
                why,
            });
        }
        sleep(pause(self.breaks));
        Ok(None)
    }

    fn check(&self) -> Result<(), RegistryError> {
        let found = self.hasher.clone().finish();
        if found == self.wanted.digest {
            return Ok(());
        }
        Err(self.wrong(format!(
            "what came has digest {found}, not {}",
            self.wanted.digest
        )))
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.step(buffer) {
                Ok(Some(0)) => break,
                Ok(Some(read)) => return Ok(read),
                Ok(None) => {}
                Err(error) => return Err(self.fault.put(error)),
            }
        }
        self.check().map_err(|error| self.fault.put(error))?;
        self.done = true;
        Ok(0)
    }
}

impl std::fmt::Debug for Blob<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({} at {})", self.wanted.digest, self.offset)
    }
}
