//! What clients are told apart by.

use std::net::IpAddr;

use filter::{Claim, Identity, View};
use http::HeaderName;

use crate::counters::{Counters, Hashed};

/// What a limit counts by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The client's address; an IPv6 one counts by its /64, which is what one customer has.
    Ip,
    /// The value of a header field.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(Box<str>),
    /// Who calls, as authentication has found out.
    User,
    /// The key that the caller has shown.
    ApiKey,
    /// A claim of the caller's.
    Claim(Box<str>),
    /// The route: all clients together.
    Route,
    /// The upstream: all routes to it together.
    Upstream,
}

/// The step at which a key is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// As soon as there is a request.
    Client,
    /// Once it is known who calls.
    Identity,
    /// Where an upstream is about to be asked.
    Upstream,
}

/// What a key is of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'v> {
    /// An IPv4 address, or the first half of an IPv6 one.
    Network(IpAddr),
    /// A client of a unix socket, whose address nobody knows.
    Nobody,
    /// Text that may be a secret.
    Bytes(&'v [u8]),
    /// A name that may be told.
    Name(&'v str),
}

impl Key {
    /// How it is written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None => match text {
                "ip" => Ok(Self::Ip),
                "user" => Ok(Self::User),
                "api_key" => Ok(Self::ApiKey),
                "route" => Ok(Self::Route),
                "upstream" => Ok(Self::Upstream),
                _ => Err(format!("expected one of {KEYS}")),
            },
            Some(("header", name)) => match name.parse() {
                Ok(name) => Ok(Self::Header(name)),
                Err(_) => Err(format!("{name:?} is not a header name")),
            },
            Some(("cookie", name)) if !name.is_empty() => Ok(Self::Cookie(name.into())),
            Some(("claim", name)) if !name.is_empty() => Ok(Self::Claim(name.into())),
            Some(_) => Err(format!("expected one of {KEYS}")),
        }
    }

    /// What somebody means who writes a key of this kind by hand: an address, or a value.
    pub(crate) fn meant<'t>(&self, text: &'t str) -> Value<'t> {
        let network = text.strip_suffix("/64").unwrap_or(text);
        match (self, network.parse::<IpAddr>()) {
            (Self::Ip, Ok(network)) => address(Some(network)),
            (Self::Header(_) | Self::Cookie(_), _) => Value::Bytes(text.as_bytes()),
            _ => Value::Name(text),
        }
    }

    pub(crate) fn step(&self) -> Step {
        match self {
            Self::Ip | Self::Header(_) | Self::Cookie(_) | Self::Route => Step::Client,
            Self::User | Self::ApiKey | Self::Claim(_) => Step::Identity,
            Self::Upstream => Step::Upstream,
        }
    }

    /// What it is of this request; `None` where the request does not have it. `route` and `upstream` are the names of where
    /// it goes.
    pub(crate) fn of<'v>(&self, request: &View<'v>, place: Place<'v>) -> Option<Value<'v>> {
        match self {
            Self::Ip => Some(address(request.client.address)),
            Self::Header(name) => request.head.headers.get(name).map(|value| Value::Bytes(value.as_bytes())),
            Self::Cookie(name) => request.cookie(name).map(|value| Value::Bytes(value.as_bytes())),
            Self::User | Self::ApiKey | Self::Claim(_) => self.of_caller(request.identity?).map(Value::Name),
            Self::Route => Some(Value::Name(place.route)),
            Self::Upstream => Some(Value::Name(place.upstream)),
        }
    }
}

impl Key {
    /// What it is of a caller, where it says who calls.
    pub(crate) fn of_caller<'c>(&self, caller: &'c Identity) -> Option<&'c str> {
        match self {
            Self::User => caller.user.as_deref(),
            Self::ApiKey => caller.key.as_deref(),
            Self::Claim(name) => caller.claim(name).map(Claim::as_str),
            Self::Ip | Self::Header(_) | Self::Cookie(_) | Self::Route | Self::Upstream => None,
        }
    }
}

/// How keys are written, for messages.
pub(crate) const KEYS: &str =
    "`ip`, `user`, `api_key`, `header:NAME`, `cookie:NAME`, `claim:NAME`, `route` and `upstream`";

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'p> {
    pub(crate) route: &'p str,
    pub(crate) upstream: &'p str,
}

/// The network that an address counts as.
pub(crate) fn address(address: Option<IpAddr>) -> Value<'static> {
    match address {
        None => Value::Nobody,
        Some(IpAddr::V4(address)) => Value::Network(address.into()),
        Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(address) => Value::Network(address.into()),
            None => {
                let [a, b, c, d, ..] = address.segments();
                Value::Network(std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        },
    }
}

impl Value<'_> {
    /// The same value of another kind is another key.
    pub(crate) fn hash(self, counters: &Counters) -> Hashed {
        match self {
            Self::Network(IpAddr::V4(address)) => counters.hash(4, &address.octets()),
            Self::Network(IpAddr::V6(address)) => counters.hash(6, &address.octets()),
            Self::Nobody => counters.hash(0, &[]),
            Self::Bytes(bytes) => counters.hash(1, bytes),
            Self::Name(name) => counters.hash(2, name.as_bytes()),
        }
    }

    /// For people. What may be a secret is told by the beginning of its hash.
    pub(crate) fn text(self, counters: &Counters) -> Box<str> {
        match self {
            Self::Network(IpAddr::V4(address)) => address.to_string().into(),
            Self::Network(IpAddr::V6(address)) => format!("{address}/64").into(),
            Self::Nobody => "unknown".into(),
            Self::Bytes(bytes) => format!("#{:016x}", counters.hash(1, bytes).0 as u64).into(),
            Self::Name(name) => name.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_counts_by_its_network() {
        let of = |text: &str| address(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn the_same_text_of_another_kind_is_another_key() {
        let counters = Counters::default();
        let keys =
            [Value::Bytes(b"a"), Value::Name("a"), Value::Nobody, Value::Bytes(b"")].map(|key| key.hash(&counters));
        assert!((1..4).all(|index| !keys[..index].contains(&keys[index])));
        assert_ne!(Value::Bytes(b"a").hash(&Counters::default()), keys[0]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = Value::Bytes(b"open-sesame").text(&Counters::default());
        assert!(shown.starts_with('#') && !shown.contains("sesame"), "{shown}");
    }
}
