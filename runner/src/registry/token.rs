//! Tokens: bought with a user's secret from whom the registry names.

use super::client::{Failed, Response, said};
use super::credentials::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::io::Read;
use ureq::http::{Method, Request, Uri, header};

/// Longest answer that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// What is asked for.
pub(super) struct Asked<'a> {
    /// Where.
    pub(super) realm: Uri,
    pub(super) service: Option<&'a str>,
    /// Several with spaces between.
    pub(super) scope: &'a str,
    pub(super) secret: Option<&'a Secret>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// Asks for a token. The inner error is why there is none, in the words of whom we asked.
pub(super) fn fetch(
    asked: &Asked<'_>,
    run: impl Fn(Request<&[u8]>) -> Result<Response, Failed>,
) -> Result<Result<String, String>, Failed> {
    let form;
    let request = match asked.secret {
        Some(Secret::Registry(token)) => return Ok(Ok(token.clone())),
        Some(Secret::Identity(token)) => {
            form = pairs(
                asked,
                &[
                    ("grant_type", "refresh_token"),
                    ("client_id", "runner"),
                    ("refresh_token", token),
                ],
            );
            Request::builder()
                .method(Method::POST)
                .uri(&asked.realm)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.as_bytes())
        }
        secret => {
            let mut at = asked.realm.to_string();
            at.push(if asked.realm.query().is_some() {
                '&'
            } else {
                '?'
            });
            let mut builder = Request::builder().method(Method::GET);
            let query = match secret {
                Some(Secret::Password { user, password }) => {
                    builder = builder.header(header::AUTHORIZATION, basic(user, password));
                    pairs(asked, &[("account", user)])
                }
                _ => pairs(asked, &[]),
            };
            builder.uri(at + &query).body(&[][..])
        }
    };
    let request = match request {
        Ok(request) => request,
        Err(e) => return Ok(Err(e.to_string())),
    };
    let response = run(request)?;
    match response.status().as_u16() {
        200 => Ok(token_of(response)),
        429 | 500..=599 => Err(Failed::Broken(format!("no token: {}", said(response)))),
        _ => Ok(Err(said(response))),
    }
}

fn token_of(response: Response) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = response
        .into_body()
        .into_reader()
        .take(LONGEST)
        .read_to_end(&mut bytes);
    read.map_err(|e| format!("no token: {e}"))?;
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|e| format!("no token: {e}"))?;
    let token = answer
        .token
        .or(answer.access_token)
        .filter(|token| !token.is_empty());
    let token = token.ok_or("the answer holds no token")?;
    let plain = token.bytes().all(|b| b.is_ascii_graphic());
    if plain {
        Ok(token)
    } else {
        Err("the token has characters that no token has".to_owned())
    }
}

/// What is asked for, as a query or a form.
fn pairs(asked: &Asked<'_>, more: &[(&str, &str)]) -> String {
    let scopes = asked.scope.split(' ').filter(|scope| !scope.is_empty());
    let form = more.iter().any(|(name, _)| *name == "grant_type");
    let mut all: Vec<(&str, &str)> = asked
        .service
        .map(|service| ("service", service))
        .into_iter()
        .collect();
    match form {
        // A form has one scope with spaces, a query one each.
        true if !asked.scope.is_empty() => all.push(("scope", asked.scope)),
        true => {}
        false => all.extend(scopes.map(|scope| ("scope", scope))),
    }
    all.extend(more);
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", escape(value));
    all.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// Text as it may stand in a query.
pub(super) fn escape(text: &str) -> String {
    let one = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            (b as char).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

/// `Authorization` with a password.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let mut asked = Asked {
            realm: "https://a.example/token".parse().unwrap(),
            service: Some("r x"),
            scope: "repository:a/b:pull repository:c:pull",
            secret: None,
        };
        let query =
            "service=r%20x&scope=repository%3Aa%2Fb%3Apull&scope=repository%3Ac%3Apull&account=me";
        assert_eq!(pairs(&asked, &[("account", "me")]), query);
        asked.scope = "";
        assert_eq!(pairs(&asked, &[]), "service=r%20x");
        assert_eq!(basic("u", "p:w"), "Basic dTpwOnc=");
    }
}
