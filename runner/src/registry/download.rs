//! A file by its address, for ADD and contexts of builds: over http or https, without credentials.
//!
//! ```text
//!  GET ── 3xx ──> elsewhere, never from https to http (at most 5 times)
//!      └── 429, 5xx, broken connection: from the beginning after 0.2, 0.4, 0.8, 1.6 s
//! ```

use super::client::{ATTEMPTS, Response, is_final, is_passing, is_redirect, pause, reason, said};
use super::host::{Host, origin};
use super::{Digest, RegistryError};
use crate::types::hex;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::thread::sleep;
use ureq::http::{Uri, header};

/// How often one request is redirected.
const REDIRECTS: u32 = 5;

/// Bytes read at once.
const PIECE: usize = 128 << 10;

/// A file that was fetched.
#[derive(Debug)]
pub struct Download {
    /// The last part of the address's path; empty if it has none.
    pub name: String,
    /// What came, in a file that was empty.
    pub file: File,
    /// Bytes of it.
    pub size: u64,
    /// When it last changed, in seconds since 1970, if the server says so.
    pub modified: Option<i64>,
}

/// Whether a text is an address that can be fetched.
pub fn is_address(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// The last part of an address's path; empty if it has none.
pub fn name_in(address: &str) -> String {
    let path = address.parse::<Uri>().ok();
    let path = path.as_ref().map(Uri::path).unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Fetches `address` into the empty `file`; at most `longest` bytes, and those of `wanted` if there is one.
///
/// # Errors
/// Nobody answers, or something else than a whole file; then the file holds anything.
pub fn download(
    address: &str,
    wanted: Option<&Digest>,
    longest: u64,
    mut file: File,
) -> Result<Download, RegistryError> {
    let wrong = |why: String| RegistryError::Wrong {
        what: address.to_owned(),
        why,
    };
    let begun: Uri = address
        .parse()
        .map_err(|_| wrong("no address".to_owned()))?;
    if origin(&begun).is_none() {
        return Err(wrong("no address of http or https".to_owned()));
    }
    let mut attempt = 0;
    loop {
        attempt += 1;
        let tried = asked(&begun, address).and_then(|response| {
            let modified = modified(&response);
            let (sum, size) = read(response, &mut file, longest, address)?;
            Ok((sum, size, modified))
        });
        match tried {
            Ok((sum, size, modified)) => {
                if let Some(wanted) = wanted.filter(|wanted| wanted.hex() != sum) {
                    return Err(wrong(format!("it is sha256:{sum}, not {wanted}")));
                }
                return Ok(Download {
                    name: name_in(address),
                    file,
                    size,
                    modified,
                });
            }
            Err(Tried::Broken(_)) if attempt < ATTEMPTS => sleep(pause(attempt)),
            Err(Tried::Broken(why)) => {
                return Err(RegistryError::Broken {
                    what: address.to_owned(),
                    registry: begun.host().unwrap_or_default().to_owned(),
                    times: attempt,
                    why,
                });
            }
            Err(Tried::For(error)) => return Err(error),
        }
    }
}

/// How one attempt ended.
enum Tried {
    /// Trying again may help.
    Broken(String),
    /// It does not.
    For(RegistryError),
}

/// The answer to a request that is not redirected any more.
fn asked(begun: &Uri, address: &str) -> Result<Response, Tried> {
    let wrong = |why: String| {
        Tried::For(RegistryError::Wrong {
            what: address.to_owned(),
            why,
        })
    };
    let mut at = begun.clone();
    for _ in 0..=REDIRECTS {
        let place = at.authority().map(|a| a.as_str()).unwrap_or_default();
        let agent = Host::new(place, Some(true)).agent().map_err(Tried::For)?;
        let response = agent.get(&at).call().map_err(|e| match is_final(&e) {
            true => wrong(reason(&e)),
            false => Tried::Broken(reason(&e)),
        })?;
        let status = response.status();
        let to = response.headers().get(header::LOCATION);
        let to = to
            .and_then(|to| to.to_str().ok())
            .filter(|_| is_redirect(status));
        if let Some(to) = to {
            let next = relative(&at, to).ok_or_else(|| wrong("redirected nowhere".to_owned()))?;
            if next.scheme_str() == Some("http") && at.scheme_str() != Some("http") {
                return Err(wrong("redirected to plain http".to_owned()));
            }
            at = next;
            continue;
        }
        if is_passing(status) {
            return Err(Tried::Broken(format!("it answers {}", status.as_u16())));
        }
        if status.as_u16() != 200 {
            return Err(wrong(format!(
                "{place} answers {}: {}",
                status.as_u16(),
                said(response)
            )));
        }
        return Ok(response);
    }
    Err(wrong(format!("redirected more than {REDIRECTS} times")))
}

fn relative(from: &Uri, to: &str) -> Option<Uri> {
    let whole = match to.starts_with('/') && !to.starts_with("//") {
        true => format!("{}://{}{to}", from.scheme_str()?, from.authority()?),
        false => to.to_owned(),
    };
    let uri: Uri = whole.parse().ok()?;
    origin(&uri).map(|_| uri)
}

fn modified(response: &Response) -> Option<i64> {
    let text = response
        .headers()
        .get(header::LAST_MODIFIED)?
        .to_str()
        .ok()?;
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text);
    parsed.ok().map(|moment| moment.as_second())
}

/// Writes the body; gives its SHA-256 and size.
fn read(
    response: Response,
    file: &mut File,
    longest: u64,
    address: &str,
) -> Result<(String, u64), Tried> {
    let local = |e: std::io::Error| {
        Tried::For(RegistryError::Wrong {
            what: address.to_owned(),
            why: format!("cannot write it: {e}"),
        })
    };
    // What an attempt before has left.
    file.set_len(0)
        .and_then(|()| file.rewind())
        .map_err(local)?;
    let mut body = response.into_body().into_reader();
    let (mut hash, mut size, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
    loop {
        let n = body
            .read(&mut piece)
            .map_err(|e| Tried::Broken(e.to_string()))?;
        if n == 0 {
            return Ok((hex(&hash.finalize()), size));
        }
        size += n as u64;
        if size > longest {
            return Err(Tried::For(RegistryError::Wrong {
                what: address.to_owned(),
                why: format!("more than {longest} bytes"),
            }));
        }
        hash.update(&piece[..n]);
        file.write_all(&piece[..n]).map_err(local)?;
    }
}
