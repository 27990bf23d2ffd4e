//! Clients that stay at the backend that answered them first.
//!
//! The cookie is what HMAC-SHA-256 makes of the endpoint under a key that only maitred has: a client can neither learn an
//! address from it nor make one up. It is computed when the endpoints change, and looked up for a request.

use std::fmt;

use aws_lc_rs::hmac;
use filter::View;
use http::HeaderValue;

/// What separates these signatures from all others that are made with the same secret.
const PURPOSE: &[u8] = b"maitred sticky 1\0";

/// How clients are kept at one backend, as run.
pub struct Sticky {
    cookie: Box<str>,
    key: hmac::Key,
    /// The attributes of the cookie.
    attributes: Box<str>,
}

/// An endpoint as a cookie names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Home(u128);

/// An endpoint's name in cookies, and the fields that give it to clients.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) home: Home,
    plain: HeaderValue,
    secure: HeaderValue,
}

impl Sticky {
    pub(crate) fn new(cookie: &str, key: &[u8], attributes: String) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self { cookie: cookie.into(), key, attributes: attributes.into() }
    }

    /// The name of the cookie.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// What the request's cookie says, whether or not there is such an endpoint.
    pub fn home(&self, view: &View<'_>) -> Option<Home> {
        let text = view.cookie(&self.cookie)?;
        // Digits alone: a number may also begin with a sign.
        let is_one = text.len() == 2 * size_of::<u128>() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| is_one).map(Home)
    }

    /// The mark of the endpoint `name` of `upstream`.
    pub(crate) fn mark(&self, upstream: &str, name: &str) -> Option<Mark> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [PURPOSE, upstream.as_bytes(), b"\0", name.as_bytes()] {
            context.update(part);
        }
        let tag = context.sign();
        let home = u128::from_be_bytes(*tag.as_ref().first_chunk()?);
        let plain = format!("{}={home:032x}{}", self.cookie, self.attributes);
        let secure = HeaderValue::try_from(format!("{plain}; Secure")).ok()?;
        Some(Mark { home: Home(home), plain: HeaderValue::try_from(plain).ok()?, secure })
    }
}

impl Mark {
    /// The field that keeps a client here, over TLS or not.
    pub(crate) fn cookie(&self, secure: bool) -> &HeaderValue {
        if secure { &self.secure } else { &self.plain }
    }
}

/// Without the key.
impl fmt::Debug for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sticky").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"a key of sixteen";

    fn mark(key: &[u8], upstream: &str, name: &str) -> Mark {
        Sticky::new("at", key, "; Path=/".into()).mark(upstream, name).unwrap()
    }

    #[test]
    fn a_mark_is_the_same_for_the_same_endpoint_and_key_alone() {
        let home = |key, upstream, name| mark(key, upstream, name).home;
        let one = home(KEY, "users", "10.0.0.1:80");
        assert_eq!(one, home(KEY, "users", "10.0.0.1:80"));
        assert_ne!(one, home(b"another key of 16", "users", "10.0.0.1:80"));
        assert_ne!(one, home(KEY, "users", "10.0.0.2:80"));
        assert_ne!(one, home(KEY, "orders", "10.0.0.1:80"));
    }

    #[test]
    fn a_cookie_names_no_address_and_is_secure_over_tls() {
        let mark = mark(KEY, "users", "10.0.0.1:80");
        let text = mark.cookie(false).to_str().unwrap();
        assert!(text.starts_with("at=") && text.ends_with("; Path=/") && !text.contains("10.0"), "{text}");
        assert_eq!(mark.cookie(true).to_str().unwrap(), format!("{text}; Secure"));
    }
}
