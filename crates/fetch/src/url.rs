//! Where a service is.

use std::fmt;

use document::{At, Code, Diagnostic, Report};
use http::Uri;

/// A URL with a scheme that is asked, a host and a target.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    secure: bool,
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    pub(crate) target: Box<str>,
}

impl Url {
    /// Reads `https://host/path`. The error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "this is not a URL".to_owned())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("a URL begins with https:// or http://".into()),
        };
        let authority =
            uri.authority().filter(|authority| !authority.host().is_empty()).ok_or("the URL has no host")?;
        if authority.as_str().contains('@') {
            return Err("credentials do not belong into a URL".into());
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { secure, host: authority.host().into(), port, target: target.into() })
    }

    /// The same out of a configuration. What is sent in the clear over a network is warned of: `risk` says what whoever
    /// reads or changes it can do.
    pub fn compile(text: &str, risk: &str, at: &At, report: &mut Report) -> Option<Self> {
        match Self::parse(text) {
            Ok(url) => {
                if !url.is_secure() && !url.is_local() {
                    report.push(
                        Diagnostic::new(Code::W0701, "this service is asked unencrypted")
                            .label(at, format!("whoever can read or change this traffic {risk}"))
                            .help("write https://"),
                    );
                }
                Some(url)
            }
            Err(why) => {
                report.add(Code::E0108, at, "nobody can be asked here", why);
                None
            }
        }
    }

    /// Whether it is asked over TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether nobody but this machine could change what comes from there.
    pub fn is_local(&self) -> bool {
        matches!(self.bare_host(), "localhost" | "::1") || self.host.starts_with("127.")
    }

    pub(crate) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(crate) fn authority(&self) -> String {
        let default = if self.secure { 443 } else { 80 };
        if self.port == default { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

/// Without its query, which may hold what is not for a log.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        let path = self.target.split('?').next().unwrap_or("/");
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
