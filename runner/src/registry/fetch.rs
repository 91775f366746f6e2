//! Manifests from a registry, checked against their digest.

use super::RegistryError;
use super::client::{ATTEMPTS, Ask, Client, pause, reason};
use super::digest::Digest;
use super::error::tame;
use super::manifest::{Document, KINDS, LONGEST, kind_of};
use serde::Deserialize;
use std::io::Read;
use std::thread::sleep;
use ureq::http::{StatusCode, header};

/// A document as it came.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) document: Document,
    pub(super) kind: String,
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
}

/// Longest list of tags that is read at once, in bytes, and how many such lists.
const LONGEST_LIST: u64 = 1 << 20;
const LISTS: usize = 1000;

/// One repository, to read from.
#[derive(Debug)]
pub(super) struct Repository<'a> {
    pub(super) client: &'a Client,
    pub(super) name: &'a str,
    pub(super) scope: &'a str,
}

impl Repository<'_> {
    /// A manifest or index by its tag or digest; `what` it is, for messages.
    pub(super) fn document(&self, at: &str, what: &str) -> Result<Fetched, RegistryError> {
        let wrong = |why: String| RegistryError::Wrong {
            what: what.to_owned(),
            why,
        };
        let (bytes, kind, told) = self.bytes(at, what)?;
        let digest = Digest::of(&bytes);
        let wanted = Digest::parse(at);
        let told = told.filter(|told| told.starts_with("sha256:"));
        for wanted in wanted
            .as_ref()
            .map(Digest::as_str)
            .into_iter()
            .chain(told.as_deref())
        {
            if wanted != digest.as_str() {
                return Err(wrong(format!(
                    "what came has digest {digest}, not {}",
                    tame(wanted)
                )));
            }
        }
        let document = Document::parse(&bytes, kind.as_deref()).map_err(wrong)?;
        Ok(Fetched {
            document,
            kind: kind_of(&bytes, kind.as_deref()),
            bytes,
            digest,
        })
    }

    /// All tags.
    pub(super) fn tags(&self, what: &str) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct List {
            tags: Option<Vec<String>>,
        }
        let wrong = |why: String| RegistryError::Wrong {
            what: what.to_owned(),
            why,
        };
        let mut found = Vec::new();
        let mut at = self.client.base().clone();
        let mut next = format!("/v2/{}/tags/list", self.name);
        for _ in 0..LISTS {
            at = self.client.address(&at, &next).map_err(wrong)?;
            let response = self
                .client
                .send(&Ask::get(at.to_string(), self.scope, what))?;
            let response = self.client.expect(response, what, &[StatusCode::OK])?;
            let link = response
                .headers()
                .get(header::LINK)
                .and_then(|link| link.to_str().ok());
            let link = link.and_then(following);
            let mut bytes = Vec::new();
            let read = response
                .into_body()
                .into_reader()
                .take(LONGEST_LIST)
                .read_to_end(&mut bytes);
            read.map_err(|e| wrong(format!("its list of tags cannot be read: {e}")))?;
            let list: List = serde_json::from_slice(&bytes)
                .map_err(|e| wrong(format!("its list of tags cannot be read: {e}")))?;
            found.extend(list.tags.unwrap_or_default());
            match link {
                Some(link) => next = link,
                None => return Ok(found),
            }
        }
        Err(wrong("its list of tags has no end".to_owned()))
    }

    /// The bytes, what they were sent as, and which digest the registry says they have.
    #[allow(clippy::type_complexity)]
    fn bytes(
        &self,
        at: &str,
        what: &str,
    ) -> Result<(Vec<u8>, Option<String>, Option<String>), RegistryError> {
        let path = format!("/v2/{}/manifests/{at}", self.name);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let ask =
                Ask::get(path.clone(), self.scope, what).header(header::ACCEPT, KINDS.join(", "));
            let response = self.client.send(&ask)?;
            let response = self.client.expect(response, what, &[StatusCode::OK])?;
            let header = |name: &str| {
                let value = response.headers().get(name)?;
                value.to_str().ok().map(str::to_owned)
            };
            let (kind, told) = (header("content-type"), header("docker-content-digest"));
            let mut bytes = Vec::new();
            match response
                .into_body()
                .into_reader()
                .take(LONGEST + 1)
                .read_to_end(&mut bytes)
            {
                Ok(_) if bytes.len() as u64 > LONGEST => {
                    return Err(RegistryError::Wrong {
                        what: what.to_owned(),
                        why: format!("its manifest has more than {LONGEST} bytes"),
                    });
                }
                Ok(_) => return Ok((bytes, kind, told)),
                Err(e) if attempt >= ATTEMPTS => {
                    return Err(RegistryError::Broken {
                        what: what.to_owned(),
                        registry: self.client.host().name().to_owned(),
                        times: attempt,
                        why: reason(&ureq::Error::from(e)),
                    });
                }
                Err(_) => sleep(pause(attempt)),
            }
        }
    }
}

/// Where a list goes on, of `Link: <ADDRESS>; rel="next"`.
fn following(link: &str) -> Option<String> {
    let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| address.to_owned())
}
