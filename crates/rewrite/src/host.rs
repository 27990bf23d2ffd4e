//! Which host the origin is asked for.

use document::{At, Code, Diagnostic, Report};
use http::{HeaderValue, uri::Authority};

/// What the origin sees in its Host field (or `:authority`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HostPolicy {
    /// What the client asked for: `keep`, the default.
    #[default]
    Keep,
    /// The host of the backend's URL: `upstream`.
    Upstream,
    /// This name.
    Literal(HeaderValue),
}

impl HostPolicy {
    /// Compiles `host` of a route's `request`, which stands at `at`: `keep`, `upstream` or a host name, with a port where
    /// the origin wants one.
    pub fn compile(written: Option<&String>, at: &At, report: &mut Report) -> Option<Self> {
        let text = match written.map(String::as_str) {
            None | Some("keep") => return Some(Self::Keep),
            Some("upstream") => return Some(Self::Upstream),
            Some(text) => text,
        };
        let sound = text.parse::<Authority>().is_ok_and(|host| is_plain(&host));
        match HeaderValue::from_str(text) {
            Ok(value) if sound => Some(Self::Literal(value)),
            _ => {
                let diagnostic = Diagnostic::new(Code::E0108, format!("`{text}` is not a host"));
                let diagnostic = diagnostic.label(at, "expected a host name, perhaps with a port");
                report.push(diagnostic.help("write \"keep\", \"upstream\" or a name such as \"api.internal\""));
                None
            }
        }
    }
}

/// A host and perhaps a port, and nothing else (RFC 9110 section 7.2).
pub(crate) fn is_plain(authority: &Authority) -> bool {
    let name = authority.host();
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let named = !name.is_empty() && name.bytes().all(letters);
    let ported = match authority.as_str().strip_prefix(name) {
        Some("") => true,
        Some(port) => port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()),
        None => false,
    };
    (named || (name.starts_with('[') && name.ends_with(']'))) && ported
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_kept_taken_from_the_upstream_or_given() {
        let compile = |text: &str| HostPolicy::compile(Some(&text.to_string()), &At::root(), &mut Report::new());
        assert_eq!(HostPolicy::compile(None, &At::root(), &mut Report::new()), Some(HostPolicy::Keep));
        assert_eq!(compile("keep"), Some(HostPolicy::Keep));
        assert_eq!(compile("upstream"), Some(HostPolicy::Upstream));
        for host in ["api.internal", "api.internal:8080", "10.0.0.1", "[::1]:80", "localhost"] {
            assert_eq!(compile(host), Some(HostPolicy::Literal(HeaderValue::from_str(host).unwrap())));
        }
        for wrong in ["", "http://a", "a/b", "a b", "{host}", "u@a", "a:x", "a:", "a\r\nb", "größe.de"] {
            assert_eq!(compile(wrong), None, "{wrong}");
        }
    }
}
