//! Content to a registry: in pieces, taken up again where the connection broke.
//!
//! ```text
//!  POST ──> where to ── small: PUT, all at once
//!             └── large: PATCH piece by piece ── breaks: GET tells what arrived ──> the rest of it
//!                  └── PUT with the digest         lost: from the beginning (the caller's part)
//! ```

use super::RegistryError;
use super::client::{ATTEMPTS, Ask, Client, Response, pause};
use super::digest::{Digest, Hasher};
use std::io::{self, Read};
use std::thread::sleep;
use ureq::http::{Method, StatusCode, Uri, header};

/// Size of a piece in bytes; what is no longer goes in one request.
const PIECE: usize = 8 << 20;

/// The largest piece that a registry may insist on.
const LARGEST_PIECE: usize = 64 << 20;

/// A repository to write to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) client: &'a Client,
    pub(super) repository: &'a str,
    pub(super) scope: &'a str,
    /// What is sent, for messages.
    pub(super) what: &'a str,
}

/// Why a piece did not arrive.
enum Lost {
    /// The registry knows nothing of the upload: it must begin anew.
    Upload,
    /// For good.
    For(RegistryError),
}

/// An upload that the registry has begun.
#[derive(Debug)]
pub(super) struct Session {
    at: Uri,
    piece: usize,
}

/// What came of asking for another repository's content.
#[derive(Debug)]
pub(super) enum Mounted {
    /// It is there now.
    Yes,
    /// It must be sent.
    No(Session),
}

impl Target<'_> {
    /// Whether the repository has some content.
    pub(super) fn has(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let at = format!("/v2/{}/blobs/{digest}", self.repository);
        let response = self
            .client
            .send(&Ask::new(Method::HEAD, at, self.scope, self.what))?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => self
                .client
                .expect(response, self.what, &[StatusCode::OK])
                .map(|_| true),
        }
    }

    /// Asks for an upload; with `from`, to take over content of another repository instead.
    pub(super) fn begin(&self, from: Option<(&Digest, &str)>) -> Result<Mounted, RegistryError> {
        let mut at = format!("/v2/{}/blobs/uploads/", self.repository);
        if let Some((digest, repository)) = from {
            at += &format!("?mount={digest}&from={}", super::token::escape(repository));
        }
        let ask = Ask::new(Method::POST, at, self.scope, self.what);
        let response = self.client.send(&ask)?;
        let wanted: &[_] = match from {
            Some(_) => &[StatusCode::CREATED, StatusCode::ACCEPTED],
            None => &[StatusCode::ACCEPTED],
        };
        let response = self.client.expect(response, self.what, wanted)?;
        if response.status() == StatusCode::CREATED {
            return Ok(Mounted::Yes);
        }
        let least = response.headers().get("oci-chunk-min-length");
        let least = least
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        Ok(Mounted::No(Session {
            at: self.next(self.client.base(), &response)?,
            piece: PIECE.max(least).min(LARGEST_PIECE),
        }))
    }

    /// Sends all of a reader; gives digest and length of what was sent. `Ok(None)` when the registry
    /// has lost the upload on the way, and it must begin anew.
    pub(super) fn send(
        &self,
        mut session: Session,
        from: &mut dyn Read,
    ) -> Result<Option<(Digest, u64)>, RegistryError> {
        let mut hasher = Hasher::default();
        let mut offset = 0;
        let mut piece = Vec::new();
        loop {
            piece.clear();
            let most = session.piece as u64;
            let read = (&mut *from).take(most).read_to_end(&mut piece);
            read.map_err(|e| self.reading(&e))?;
            hasher.update(&piece);
            let last = piece.len() < session.piece;
            if last && offset == 0 {
                let digest = hasher.finish();
                return self
                    .finish(&session, &digest, &piece)
                    .map(|done| done.then_some((digest, piece.len() as u64)));
            }
            if !piece.is_empty() {
                match self.piece(&mut session, offset, &piece) {
                    Ok(()) => {}
                    Err(Lost::Upload) => return Ok(None),
                    Err(Lost::For(error)) => return Err(error),
                }
                offset += piece.len() as u64;
            }
            if last {
                let digest = hasher.finish();
                return self
                    .finish(&session, &digest, &[])
                    .map(|done| done.then_some((digest, offset)));
            }
        }
    }

    fn reading(&self, error: &io::Error) -> RegistryError {
        RegistryError::Wrong {
            what: self.what.to_owned(),
            why: format!("cannot be read from the store: {error}"),
        }
    }

    /// Sends one piece that begins at `offset`, as often as it takes.
    fn piece(&self, session: &mut Session, offset: u64, piece: &[u8]) -> Result<(), Lost> {
        let mut sent = 0;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let rest = &piece[sent..];
            let start = offset + sent as u64;
            let range = format!("{start}-{}", start + rest.len() as u64 - 1);
            let ask = Ask::new(Method::PATCH, session.at.to_string(), self.scope, self.what)
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_RANGE, range)
                .body(rest)
                .once();
            let error = match self.client.send(&ask) {
                Ok(response)
                    if [StatusCode::ACCEPTED, StatusCode::NO_CONTENT]
                        .contains(&response.status()) =>
                {
                    session.at = self.next(&session.at, &response).map_err(Lost::For)?;
                    return Ok(());
                }
                Ok(response) => {
                    let status = response.status();
                    let error = self.client.expect(response, self.what, &[]).err();
                    let error = error.unwrap_or_else(|| self.odd("the registry lost its answer"));
                    if status == StatusCode::NOT_FOUND {
                        return Err(Lost::Upload);
                    }
                    let may_help = status.is_server_error()
                        || [
                            StatusCode::RANGE_NOT_SATISFIABLE,
                            StatusCode::TOO_MANY_REQUESTS,
                        ]
                        .contains(&status);
                    if !may_help {
                        return Err(Lost::For(error));
                    }
                    error
                }
                Err(error @ RegistryError::Broken { .. }) => error,
                Err(error) => return Err(Lost::For(error)),
            };
            if attempt >= ATTEMPTS {
                return Err(Lost::For(error));
            }
            sleep(pause(attempt));
            let there = self.arrived(session).map_err(Lost::For)?;
            let Some(there) = there.and_then(|there| there.checked_sub(offset)) else {
                return Err(Lost::Upload);
            };
            sent = match usize::try_from(there) {
                Ok(there) if there == piece.len() => return Ok(()),
                Ok(there) if there < piece.len() => there,
                _ => {
                    return Err(Lost::For(
                        self.odd("the registry says it has more than was sent"),
                    ));
                }
            };
        }
    }

    /// How many bytes of an upload have arrived; `None` when the registry knows nothing of it.
    fn arrived(&self, session: &mut Session) -> Result<Option<u64>, RegistryError> {
        let ask = Ask::get(session.at.to_string(), self.scope, self.what);
        let response = self.client.send(&ask)?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = self.client.expect(
            response,
            self.what,
            &[StatusCode::NO_CONTENT, StatusCode::OK],
        )?;
        let range = response
            .headers()
            .get(header::RANGE)
            .and_then(|range| range.to_str().ok());
        let last = range.and_then(|range| range.rsplit_once('-')?.1.parse::<u64>().ok());
        if response.headers().contains_key(header::LOCATION) {
            session.at = self.next(&session.at, &response)?;
        }
        // `0-0` stands for nothing, too; nobody sends a single byte.
        Ok(Some(
            last.filter(|last| *last > 0)
                .map_or(0, |last| last.saturating_add(1)),
        ))
    }

    /// Ends an upload; false when the registry has lost it.
    fn finish(
        &self,
        session: &Session,
        digest: &Digest,
        rest: &[u8],
    ) -> Result<bool, RegistryError> {
        let mut at = session.at.to_string();
        at.push(if session.at.query().is_some() {
            '&'
        } else {
            '?'
        });
        at += &format!("digest={}", super::token::escape(digest.as_str()));
        let ask = Ask::new(Method::PUT, at, self.scope, self.what)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(rest)
            .once();
        match self.client.send(&ask) {
            Ok(response) if response.status() == StatusCode::CREATED => Ok(true),
            Ok(response) if response.status() == StatusCode::NO_CONTENT => Ok(true),
            Ok(response) => {
                let lost = response.status().is_server_error()
                    || response.status() == StatusCode::NOT_FOUND;
                let error = self.client.expect(response, self.what, &[]).err();
                match error {
                    Some(error) if !lost => Err(error),
                    // It may have arrived though we were not told.
                    _ => self.has(digest),
                }
            }
            Err(RegistryError::Broken { .. }) => self.has(digest),
            Err(error) => Err(error),
        }
    }

    /// Where the next request of an upload goes.
    fn next(&self, from: &Uri, response: &Response) -> Result<Uri, RegistryError> {
        let place = response
            .headers()
            .get(header::LOCATION)
            .and_then(|place| place.to_str().ok());
        let place = place.ok_or_else(|| self.odd("the registry does not say where to send it"))?;
        self.client
            .address(from, place)
            .map_err(|why| self.odd(&why))
    }

    fn odd(&self, why: &str) -> RegistryError {
        RegistryError::Wrong {
            what: self.what.to_owned(),
            why: why.to_owned(),
        }
    }
}
