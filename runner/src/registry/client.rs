//! One registry to talk with: requests with credentials, redirects and patience.
//!
//! ```text
//!  Ask ── authorise ──> origin ── 401 ──> challenge ──> token (at most twice) ──> again
//!            │             └── 3xx ──> elsewhere, without credentials (at most 5 times)
//!            └── 429, 5xx, broken connection: again after 0.2, 0.4, 0.8, 1.6 s
//! ```

use super::challenge::{self, Challenge};
use super::credentials::Secret;
use super::error::tame;
use super::host::{Host, origin};
use super::{RegistryError, token};
use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;
use ureq::http::{Method, Request, StatusCode, Uri, header};
use ureq::{Agent, Body};

/// How often a request is made before we give up.
pub(super) const ATTEMPTS: u32 = 5;

/// How often one request is redirected.
const REDIRECTS: u32 = 5;

/// Longest that a registry may make us wait before trying again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Longest error that is read, in bytes.
const LONGEST_ERROR: u64 = 64 << 10;

/// What a registry answers.
pub(super) type Response = ureq::http::Response<Body>;

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// A path on the registry, or a whole address.
    pub(super) at: String,
    pub(super) headers: Vec<(header::HeaderName, String)>,
    pub(super) body: Option<&'a [u8]>,
    /// What the token must allow, as `repository:NAME:pull`; several with spaces between.
    pub(super) scope: &'a str,
    /// What it is about, for messages.
    pub(super) what: &'a str,
    /// Whether it may be made again when it is not known how it went.
    pub(super) again: bool,
}

impl<'a> Ask<'a> {
    pub(super) fn get(at: String, scope: &'a str, what: &'a str) -> Self {
        Self::new(Method::GET, at, scope, what)
    }

    pub(super) fn new(method: Method, at: String, scope: &'a str, what: &'a str) -> Self {
        Self {
            method,
            at,
            headers: Vec::new(),
            body: None,
            scope,
            what,
            again: true,
        }
    }

    pub(super) fn header(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, body: &'a [u8]) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) fn once(mut self) -> Self {
        self.again = false;
        self
    }
}

/// A registry that has answered.
#[derive(Debug)]
pub struct Client {
    host: Host,
    /// `https://HOST[:PORT]`.
    base: Uri,
    agent: Agent,
    secret: Option<Secret>,
    challenge: Mutex<Option<Challenge>>,
    /// `Authorization` by scope.
    known: Mutex<HashMap<String, String>>,
}

impl Client {
    /// Finds out where and how a registry answers.
    ///
    /// # Errors
    /// Nobody answers there, or nobody who is a registry.
    pub fn open(host: Host, secret: Option<Secret>) -> Result<Self, RegistryError> {
        let agent = host.agent()?;
        let mut last = None;
        for origin in host.origins() {
            match ping(&agent, &host, &origin) {
                Ok((base, challenge)) => {
                    return Ok(Self {
                        host,
                        base,
                        agent,
                        secret,
                        challenge: Mutex::new(challenge),
                        known: Mutex::default(),
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| unreachable_host(&host, "no address")))
    }

    /// Its host as references name it.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Checks that the registry takes the secret.
    ///
    /// # Errors
    /// It does not.
    pub fn check_login(&self) -> Result<(), RegistryError> {
        let response = self.send(&Ask::get("/v2/".to_owned(), "", "login"))?;
        self.expect(response, "login", &[StatusCode::OK])
            .map(|_| ())
    }

    /// Makes a request, again and again if that may help; gives any answer that is no passing one.
    pub(super) fn send(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let last = attempt >= ATTEMPTS || !ask.again;
            match self.authorised(ask) {
                Ok(response) if !is_passing(response.status()) || last => return Ok(response),
                Ok(response) => sleep(wait_asked(&response).unwrap_or(pause(attempt))),
                Err(Failed::For(error)) => return Err(error),
                Err(Failed::Broken(why)) if last => {
                    return Err(RegistryError::Broken {
                        what: ask.what.to_owned(),
                        registry: self.host.name().to_owned(),
                        times: attempt,
                        why,
                    });
                }
                Err(Failed::Broken(_)) => sleep(pause(attempt)),
            }
        }
    }

    /// Passes on an answer with one of the wanted statuses, and makes an error of any other.
    pub(super) fn expect(
        &self,
        response: Response,
        what: &str,
        wanted: &[StatusCode],
    ) -> Result<Response, RegistryError> {
        let status = response.status();
        if wanted.contains(&status) {
            return Ok(response);
        }
        let (what, registry) = (what.to_owned(), self.host.name().to_owned());
        let said = said(response);
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Denied {
                what,
                registry,
                said,
            },
            StatusCode::NOT_FOUND => RegistryError::NotFound {
                what,
                registry,
                said,
            },
            _ => RegistryError::Answer {
                what,
                registry,
                status: status.as_u16(),
                said,
            },
        })
    }

    /// Makes a request with credentials, renewing them once when they are refused.
    fn authorised(&self, ask: &Ask<'_>) -> Result<Response, Failed> {
        let mut renewed = false;
        loop {
            let authorization = self.authorization(ask, renewed)?;
            let response = self.follow(ask, authorization.as_deref())?;
            if response.status() != StatusCode::UNAUTHORIZED || renewed {
                return Ok(response);
            }
            let values = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
            let Some(challenge) = challenge::choose(values.filter_map(|value| value.to_str().ok()))
            else {
                return Ok(response);
            };
            *lock(&self.challenge) = Some(challenge);
            renewed = true;
        }
    }

    /// The header that proves who we are; `None` when nobody has asked.
    fn authorization(&self, ask: &Ask<'_>, anew: bool) -> Result<Option<String>, Failed> {
        let Some(challenge) = lock(&self.challenge).clone() else {
            return Ok(None);
        };
        if let Some(known) = lock(&self.known).get(ask.scope).filter(|_| !anew) {
            return Ok(Some(known.clone()));
        }
        let denied = |said: &str| {
            Failed::For(RegistryError::Denied {
                what: ask.what.to_owned(),
                registry: self.host.name().to_owned(),
                said: said.to_owned(),
            })
        };
        let header = match challenge {
            Challenge::Basic => match &self.secret {
                Some(Secret::Password { user, password }) => token::basic(user, password),
                _ => return Err(denied("a user and password are wanted")),
            },
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                let scope = if ask.scope.is_empty() {
                    scope.as_deref().unwrap_or("")
                } else {
                    ask.scope
                };
                let asked = token::Asked {
                    realm: self.realm(&realm).map_err(|why| denied(&why))?,
                    service: service.as_deref(),
                    scope,
                    secret: self.secret.as_ref(),
                };
                let run = |request: Request<&[u8]>| self.run(request);
                let token = token::fetch(&asked, run)?;
                format!("Bearer {}", token.map_err(|said| denied(&said))?)
            }
        };
        lock(&self.known).insert(ask.scope.to_owned(), header.clone());
        Ok(Some(header))
    }

    /// Where tokens are given; over a connection that is no worse than the registry's own.
    fn realm(&self, realm: &str) -> Result<Uri, String> {
        let uri: Uri = realm
            .parse()
            .map_err(|_| format!("no address for tokens: {}", tame(realm)))?;
        match origin(&uri) {
            None => Err(format!("no address for tokens: {}", tame(realm))),
            Some((scheme, _, _)) if scheme == "http" && self.base.scheme_str() != Some("http") => {
                Err(format!("wants credentials in the clear at {}", tame(realm)))
            }
            Some(_) => Ok(uri),
        }
    }

    /// Makes a request, following redirects; credentials go to the registry itself only.
    fn follow(&self, ask: &Ask<'_>, authorization: Option<&str>) -> Result<Response, Failed> {
        let mut at = self
            .address(&self.base, &ask.at)
            .map_err(|why| wrong(ask, why))?;
        for _ in 0..=REDIRECTS {
            let mut request = Request::builder().method(&ask.method).uri(&at);
            for (name, value) in &ask.headers {
                request = request.header(name, value);
            }
            if let Some(authorization) = authorization.filter(|_| origin(&at) == origin(&self.base))
            {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let request = request.body(ask.body.unwrap_or_default());
            let response = self.run(request.map_err(|e| wrong(ask, e.to_string()))?)?;
            let place = response.headers().get(header::LOCATION);
            if !is_redirect(response.status()) || place.is_none() {
                return Ok(response);
            }
            if !matches!(ask.method, Method::GET | Method::HEAD) {
                return Ok(response);
            }
            let place = place
                .and_then(|place| place.to_str().ok())
                .unwrap_or_default();
            at = self.address(&at, place).map_err(|why| wrong(ask, why))?;
        }
        Err(wrong(
            ask,
            format!("redirected more than {REDIRECTS} times"),
        ))
    }

    /// An address relative to another, which must not fall back to plain http.
    pub(super) fn address(&self, from: &Uri, to: &str) -> Result<Uri, String> {
        let text = if to.starts_with('/') && !to.starts_with("//") {
            let (scheme, authority) = (from.scheme_str(), from.authority());
            let authority = authority.map(|a| a.as_str()).unwrap_or_default();
            format!("{}://{authority}{to}", scheme.unwrap_or("https"))
        } else {
            to.to_owned()
        };
        let bad = || format!("points to {:?}, which is no address", tame(to));
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let (scheme, _, _) = origin(&uri).ok_or_else(bad)?;
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(bad());
        }
        if scheme == "http" && self.base.scheme_str() != Some("http") {
            return Err(format!("points to plain http at {}", tame(to)));
        }
        Ok(uri)
    }

    /// Where the registry is.
    pub(super) fn base(&self) -> &Uri {
        &self.base
    }

    fn run(&self, request: Request<&[u8]>) -> Result<Response, Failed> {
        let has_body = !matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::DELETE
        );
        let host = request.uri().host().unwrap_or_default().to_owned();
        let answered = if has_body {
            self.agent.run(request)
        } else {
            self.agent.run(request.map(|_| ()))
        };
        answered.map_err(|error| {
            let elsewhere = self.base.host() != Some(host.as_str());
            let why = reason(&error);
            match is_final(&error) {
                true if elsewhere => {
                    Failed::For(unreachable_host(&self.host, &format!("{host}: {why}")))
                }
                true => Failed::For(unreachable_host(&self.host, &why)),
                false => Failed::Broken(why),
            }
        })
    }
}

/// Why a request has no answer.
pub(super) enum Failed {
    /// Trying again may help.
    Broken(String),
    /// It does not.
    For(RegistryError),
}

/// Asks whether a registry is there, and how it wants to be asked.
fn ping(
    agent: &Agent,
    host: &Host,
    origin: &str,
) -> Result<(Uri, Option<Challenge>), RegistryError> {
    let none = |why: &str| unreachable_host(host, why);
    let base: Uri = origin.parse().map_err(|_| none("no host name"))?;
    let mut attempt = 0;
    let response = loop {
        attempt += 1;
        match agent.get(format!("{origin}/v2/")).call() {
            Ok(response) if is_passing(response.status()) && attempt < ATTEMPTS => {
                sleep(wait_asked(&response).unwrap_or(pause(attempt)));
            }
            Ok(response) => break response,
            Err(error) => {
                let tls = origin.starts_with("https") && host.lax();
                // Where plain http may answer there is no point in patience here.
                if is_final(&error) || attempt >= ATTEMPTS || tls {
                    return Err(none(&advise(&error, host)));
                }
                sleep(pause(attempt));
            }
        }
    };
    let values = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
    let challenge = challenge::choose(values.filter_map(|value| value.to_str().ok()));
    match response.status() {
        StatusCode::UNAUTHORIZED if challenge.is_none() => {
            Err(none("it wants credentials in a way that is not understood"))
        }
        StatusCode::OK | StatusCode::UNAUTHORIZED => Ok((base, challenge)),
        status => Err(none(&format!(
            "what answers there is no registry ({} for /v2/: {})",
            status.as_u16(),
            said(response)
        ))),
    }
}

pub(super) fn unreachable_host(host: &Host, why: &str) -> RegistryError {
    RegistryError::Unreachable {
        registry: host.name().to_owned(),
        why: why.to_owned(),
    }
}

fn wrong(ask: &Ask<'_>, why: String) -> Failed {
    Failed::For(RegistryError::Wrong {
        what: ask.what.to_owned(),
        why,
    })
}

pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// How long to wait after so many attempts.
pub(super) fn pause(attempt: u32) -> Duration {
    Duration::from_millis(100) * 2_u32.pow(attempt.min(6))
}

/// How long the registry wants us to wait.
fn wait_asked(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?;
    let seconds: u64 = value.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// Whether trying again is in vain.
pub(super) fn is_final(error: &ureq::Error) -> bool {
    use ureq::{Error, Timeout};
    match error {
        Error::Io(e) => matches!(
            e.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
        ),
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => true,
        Error::Timeout(_) | Error::Protocol(_) | Error::BodyStalled | Error::ConnectionFailed => {
            false
        }
        _ => true,
    }
}

/// An error of the connection in words.
pub(super) fn reason(error: &ureq::Error) -> String {
    use ureq::Error;
    let text = match error {
        Error::Io(e) if e.kind() == ErrorKind::UnexpectedEof => {
            "it was closed too early".to_owned()
        }
        Error::Io(e) => e.to_string(),
        Error::HostNotFound => "no such host".to_owned(),
        Error::Timeout(_) => "no answer in time".to_owned(),
        Error::Rustls(e) => format!("TLS: {e}"),
        other => other.to_string(),
    };
    tame(&text)
}

/// The same with what the user can do.
fn advise(error: &ureq::Error, host: &Host) -> String {
    let why = reason(error);
    if matches!(error, ureq::Error::Rustls(_)) && !host.lax() {
        return format!(
            "{why}; put its authority into /etc/docker/certs.d/{}/ca.crt, or say --tls-verify=false",
            host.name()
        );
    }
    why
}

/// What a registry says of an error, in one line.
pub(super) fn said(response: Response) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let status = response.status();
    let mut bytes = Vec::new();
    // What cannot be read says nothing.
    let _ = response
        .into_body()
        .into_reader()
        .take(LONGEST_ERROR)
        .read_to_end(&mut bytes);
    let told = match serde_json::from_slice::<Errors>(&bytes) {
        Ok(Errors { errors }) => {
            let one = |e: &One| match (e.message.is_empty(), e.code.is_empty()) {
                (false, _) => e.message.clone(),
                (true, _) => e.code.to_lowercase(),
            };
            tame(&errors.iter().map(one).collect::<Vec<_>>().join("; "))
        }
        Err(_) => String::new(),
    };
    if told.is_empty() {
        status
            .canonical_reason()
            .unwrap_or("no reason given")
            .to_lowercase()
    } else {
        told
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
