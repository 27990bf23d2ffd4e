//! What of a request decides where it goes.

use std::net::IpAddr;

use balance::hash;
use filter::View;
use http::HeaderName;

/// The part of a request that a choice goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The client's address; of an IPv6 address the first 64 bits, since a client has all that follow.
    Ip,
    /// A header field.
    Header(HeaderName),
    /// A cookie.
    Cookie(Box<str>),
    /// The path.
    Path,
    /// Who is known to call, by the name of the user, or else the key.
    User,
}

impl Key {
    /// Reads `ip`, `header:X-User`, `cookie:visitor`, `path` or `user`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "ip" => Some(Self::Ip),
            None if text == "path" => Some(Self::Path),
            None if text == "user" => Some(Self::User),
            Some(("header", name)) => name.parse().ok().map(Self::Header),
            Some(("cookie", name)) if is_cookie_name(name) => Some(Self::Cookie(name.into())),
            _ => None,
        }
    }

    /// The hash of this part of the request; `None` where the request does not have it.
    pub fn of(&self, view: &View<'_>) -> Option<u64> {
        match self {
            Self::Ip => view.client.address.map(hash_address),
            Self::Header(name) => view.head.headers.get(name).map(|value| hash(value.as_bytes())),
            Self::Cookie(name) => {
                view.cookie(name).filter(|value| !value.is_empty()).map(|value| hash(value.as_bytes()))
            }
            Self::Path => Some(hash(view.path.as_bytes())),
            Self::User => {
                let known = view.identity?;
                known.user.as_deref().or(known.key.as_deref()).map(|name| hash(name.as_bytes()))
            }
        }
    }
}

/// The hash of a client's address.
pub fn hash_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()[..8]),
    }
}

/// RFC 6265 section 4.1.1: a token.
pub(crate) fn is_cookie_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_nonsense_is_not() {
        assert_eq!(Key::parse("ip"), Some(Key::Ip));
        assert_eq!(Key::parse("user"), Some(Key::User));
        assert_eq!(Key::parse("header:X-User"), Some(Key::Header(HeaderName::from_static("x-user"))));
        assert_eq!(Key::parse("cookie:visitor"), Some(Key::Cookie("visitor".into())));
        for wrong in ["", "ip:", "header", "header:", "header:a b", "cookie:", "cookie:a=b", "users", "path:/x"] {
            assert_eq!(Key::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_ipv6_client_counts_by_its_network() {
        let hash = |text: &str| hash_address(text.parse().unwrap());
        assert_eq!(hash("2001:db8::1"), hash("2001:db8::2"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db8:0:1::1"));
        assert_eq!(hash("10.0.0.1"), hash("::ffff:10.0.0.1"));
    }
}
