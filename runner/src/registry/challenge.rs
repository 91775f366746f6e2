//! `WWW-Authenticate`: how a registry wants us to prove who we are.

/// What a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// The user's name and password with every request.
    Basic,
    /// A token that somebody else gives for them.
    Bearer {
        /// Where to ask for it.
        realm: String,
        /// For whom.
        service: Option<String>,
        /// For what, in the registry's words.
        scope: Option<String>,
    },
}

/// The best challenge among header values: a token before the password itself.
pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut found: Vec<Challenge> = headers.flat_map(parse).collect();
    let bearer = found
        .iter()
        .position(|c| matches!(c, Challenge::Bearer { .. }));
    match bearer {
        Some(at) => Some(found.swap_remove(at)),
        None => found.pop(),
    }
}

/// The challenges of one header that we understand.
fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut scheme = String::new();
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        if let Some(value) = after.strip_prefix('=') {
            let (value, left) = value_of(value);
            pairs.push((word.to_ascii_lowercase(), value));
            rest = left;
        } else {
            found.extend(challenge(&scheme, &pairs));
            scheme = word.to_ascii_lowercase();
            pairs.clear();
            rest = after;
        }
    }
    found.extend(challenge(&scheme, &pairs));
    found
}

/// A value, quoted or not, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

fn challenge(scheme: &str, pairs: &[(String, String)]) -> Option<Challenge> {
    let of = |name: &str| {
        let pair = pairs
            .iter()
            .find(|(key, value)| key == name && !value.is_empty());
        pair.map(|(_, value)| value.clone())
    };
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: of("realm")?,
            service: of("service"),
            scope: of("scope"),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn headers_as_registries_write_them() {
        for (header, wanted) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                Some(bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                )),
            ),
            (r#"Basic realm="x, y=z""#, Some(Challenge::Basic)),
            (
                r#"bearer  Realm=https://a , service="q\"uoted""#,
                Some(bearer("https://a", Some("q\"uoted"), None)),
            ),
            (
                r#"Basic realm="a", Bearer realm="b""#,
                Some(bearer("b", None, None)),
            ),
            ("Negotiate", None),
            ("Bearer service=x", None),
            (
                r#"Bearer realm="unended"#,
                Some(bearer("unended", None, None)),
            ),
            ("", None),
            ("=,=,\"", None),
        ] {
            assert_eq!(choose([header].into_iter()), wanted, "{header}");
        }
    }

    #[test]
    fn the_token_is_taken_before_the_password() {
        let headers = ["Basic realm=x", "Bearer realm=y", "Basic"];
        assert_eq!(choose(headers.into_iter()), Some(bearer("y", None, None)));
    }
}
