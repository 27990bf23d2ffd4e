//! What a route's `host` means: an exact name, or a wildcard for the first labels.

use crate::pattern::Mistake;

/// A host pattern. The more specific is the lesser.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// `api.example.com`, in lower case, without brackets or a dot at the end.
    Exact(Box<str>),
    /// `*.example.com`, as `example.com`: any number of labels before it, but at least one.
    Below(Box<str>),
    /// Every host.
    Any,
}

impl Host {
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let name = text.to_ascii_lowercase();
        if name == "*" {
            return Err(Mistake::new("a wildcard needs a domain", "leave `host` out to match every host"));
        }
        let (name, wildcard) = match name.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (name.as_str(), false),
        };
        let name = plain(name);
        check(name)?;
        Ok(if wildcard { Host::Below(name.into()) } else { Host::Exact(name.into()) })
    }

    pub fn matches(&self, host: &str) -> bool {
        match self {
            Host::Exact(name) => **name == *host,
            Host::Below(suffix) => {
                host.strip_suffix(&**suffix).is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
            }
            Host::Any => true,
        }
    }

    /// Sorts the most specific host first: exact, then the longest wildcard, then any.
    pub fn rank(&self) -> (u8, std::cmp::Reverse<usize>) {
        match self {
            Host::Exact(_) => (0, std::cmp::Reverse(0)),
            Host::Below(suffix) => (1, std::cmp::Reverse(suffix.len())),
            Host::Any => (2, std::cmp::Reverse(0)),
        }
    }
}

/// A host without the brackets of an IPv6 address and the dot of a fully qualified name, which say nothing.
pub(crate) fn plain(host: &str) -> &str {
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host)
}

fn check(name: &str) -> Result<(), Mistake> {
    if name.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(());
    }
    if name.contains('*') {
        return Err(Mistake::new("`*` stands for whole labels, alone at the beginning", "write `*.example.com`"));
    }
    if name.contains("://") || name.contains('/') {
        return Err(Mistake::new("this is more than a host name", "write the host here and the path under `path`"));
    }
    if name.contains(':') {
        return Err(Mistake::new(
            "a host has no port here",
            "leave the port out: requests are matched whatever their port",
        ));
    }
    if !name.is_ascii() {
        return Err(Mistake::new("requests carry host names in ASCII", "write the name in its `xn--` form (punycode)"));
    }
    let label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (1..=63).contains(&label.len()) && letters
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(Mistake::new(
            "this is not a host name",
            "write a name such as `api.example.com` or `*.example.com`",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match() {
        for (pattern, host, expected) in [
            ("API.example.com", "api.example.com", true),
            ("api.example.com.", "api.example.com", true),
            ("api.example.com", "example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "badexample.com", false),
            ("[::1]", "::1", true),
            ("10.0.0.1", "10.0.0.1", true),
        ] {
            assert_eq!(Host::parse(pattern).unwrap().matches(host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["*", "", "a..b", "a*.b", "*.*.b", "a.b:80", "http://a", "a/b", "größe.de", "a b", "*."] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }
}
