//! Where a registry is: which host answers for a name, over which scheme, believed by whom.
//!
//! ```text
//!  docker.io        https://registry-1.docker.io      credentials of https://index.docker.io/v1/
//!  HOST[:PORT]      https://HOST[:PORT]
//!  localhost, 127.… https, certificates not checked; if nothing speaks TLS there, http (docker's rule)
//!  --tls-verify=false   the same for any host
//! ```

use super::RegistryError;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};

/// Docker's own registry as references name it.
const DOCKER: &str = "docker.io";

/// Where that is.
const DOCKER_HOST: &str = "registry-1.docker.io";

/// Files that hold the certificate authorities that this machine believes; the first is taken.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Directories of authorities for single registries, as docker and podman have them.
const CERTS_D: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// Longest file of certificates that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(30);

/// How long nothing may come or go on a connection.
const SILENCE: Duration = Duration::from_secs(60);

/// A registry's host as references name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: String,
    /// Its certificate need not be checked, and plain http will do.
    lax: bool,
}

impl Host {
    /// `name` is `HOST[:PORT]`; `verify` is `--tls-verify`, which a local host does without.
    pub fn new(name: &str, verify: Option<bool>) -> Self {
        Self {
            name: name.to_owned(),
            lax: !verify.unwrap_or(!is_local(name)),
        }
    }

    /// As references name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether certificates need not be checked, and plain http will do.
    pub(super) fn lax(&self) -> bool {
        self.lax
    }

    /// Where it may answer, best first.
    pub(super) fn origins(&self) -> Vec<String> {
        let host = if self.name == DOCKER {
            DOCKER_HOST
        } else {
            &self.name
        };
        let schemes: &[&str] = if self.lax {
            &["https", "http"]
        } else {
            &["https"]
        };
        schemes
            .iter()
            .map(|scheme| format!("{scheme}://{host}"))
            .collect()
    }

    /// What makes connections to it.
    pub(super) fn agent(&self) -> Result<Agent, RegistryError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        let tls = if self.lax {
            tls.disable_verification(true)
        } else {
            tls.root_certs(RootCerts::Specific(Arc::new(self.authorities()?)))
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Followed by us, so that credentials stay where they belong.
            .max_redirects(0)
            .tls_config(tls.build())
            .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .timeout_await_100(Some(Duration::from_millis(100)))
            .max_idle_connections_per_host(8)
            .input_buffer_size(128 << 10);
        let proxy = if is_local(&self.name) {
            None
        } else {
            Proxy::try_from_env()
        };
        Ok(config.proxy(proxy).build().new_agent())
    }

    /// The certificate authorities that are believed.
    fn authorities(&self) -> Result<Vec<Certificate<'static>>, RegistryError> {
        let mut found = Vec::new();
        let asked = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let usual = || {
            AUTHORITIES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.exists())
        };
        if let Some(path) = asked.or_else(usual) {
            found.extend(certificates(&path)?);
        }
        for directory in CERTS_D {
            let directory = Path::new(directory).join(&self.name);
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|end| end == "crt") {
                    found.extend(certificates(&path)?);
                }
            }
        }
        Ok(found)
    }
}

/// Certificates in a file; what else is there is passed over.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, RegistryError> {
    let bytes = super::files::read(path, LONGEST)?.ok_or_else(|| RegistryError::File {
        path: path.to_owned(),
        why: "no such file of certificates".to_owned(),
    })?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    Ok(parse_pem(&bytes).filter_map(certificate).collect())
}

/// Whether a host is this machine, for which plain http will do.
pub(super) fn is_local(name: &str) -> bool {
    let host = match name.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => name.split(':').next().unwrap_or(name),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Scheme, host and port: what credentials are bound to.
pub(super) fn origin(uri: &Uri) -> Option<(String, String, u16)> {
    let scheme = uri.scheme_str()?;
    let usual = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let host = uri.host()?.to_ascii_lowercase();
    Some((scheme.to_owned(), host, uri.port_u16().unwrap_or(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_hosts() {
        for name in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:5000",
        ] {
            assert!(is_local(name), "{name}");
        }
        for name in [
            "docker.io",
            "localhost.example",
            "128.0.0.1:5000",
            "10.0.0.1",
            "[::2]:5",
        ] {
            assert!(!is_local(name), "{name}");
        }
    }

    #[test]
    fn where_they_answer() {
        let at = |name, verify| Host::new(name, verify).origins();
        assert_eq!(at("docker.io", None), ["https://registry-1.docker.io"]);
        assert_eq!(at("r.example:5000", None), ["https://r.example:5000"]);
        let both = ["https://r.example", "http://r.example"];
        assert_eq!(at("r.example", Some(false)), both);
        assert_eq!(
            at("localhost:5", None),
            ["https://localhost:5", "http://localhost:5"]
        );
        assert_eq!(at("localhost:5", Some(true)), ["https://localhost:5"]);
    }

    #[test]
    fn origins_have_their_usual_ports() {
        let of = |text: &str| origin(&text.parse().unwrap());
        assert_eq!(of("https://A.example/x"), of("https://a.example:443/y"));
        assert_ne!(of("https://a.example/x"), of("http://a.example/x"));
        assert_ne!(of("https://a.example/x"), of("https://a.example:444/x"));
        assert_eq!(of("/x"), None);
    }
}
