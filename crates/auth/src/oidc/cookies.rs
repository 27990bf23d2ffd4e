//! The cookies of a session and of logins under way: their names, and how one value is spread over several.

use std::borrow::Cow;

use filter::View;
use http::{HeaderValue, header};

/// How long one cookie's value is at most: browsers take 4,096 bytes with its name and attributes (RFC 6265 section 6.1).
const PIECE: usize = 3600;
/// How many cookies a session may take.
const PIECES: usize = 4;
/// How many logins a browser may have under way before the others are forgotten.
const LOGINS: usize = 4;
/// For how many seconds a login may be under way.
pub(crate) const UNDER_WAY: i64 = 600;

/// Cookies of one policy. `__Host-`: over https and from this very host alone (RFC 6265bis section 4.1.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cookies(Box<str>);

impl Cookies {
    pub(crate) fn new(policy: &str) -> Self {
        let plain = policy.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let name: String =
            if plain { policy.into() } else { policy.bytes().map(|byte| format!("{byte:02x}")).collect() };
        Self(format!("__Host-maitred-{name}").into())
    }

    /// Whether a cookie is one of these.
    pub(crate) fn has(&self, name: &str) -> bool {
        name.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The session, put together. The first piece says how many there are, so that none of an older one is taken along.
    pub(crate) fn session<'r>(&self, request: &View<'r>) -> Option<Cow<'r, str>> {
        let (count, first) = request.cookie(&self.0)?.split_once('.')?;
        let count: usize = count.parse().ok().filter(|count| (1..=PIECES).contains(count))?;
        if count == 1 {
            return Some(first.into());
        }
        let mut whole = first.to_owned();
        for number in 1..count {
            whole.push_str(request.cookie(&format!("{}.{number}", self.0))?);
        }
        Some(whole.into())
    }

    /// What keeps a session for `seconds`; `None` where it is too large for a browser.
    pub(crate) fn keep(&self, session: &str, seconds: i64) -> Option<Vec<HeaderValue>> {
        let pieces: Vec<&[u8]> = session.as_bytes().chunks(PIECE).collect();
        if pieces.len() > PIECES {
            return None;
        }
        let text = |(number, piece): (usize, &&[u8])| {
            let piece = std::str::from_utf8(piece).ok()?;
            let (name, start) = if number == 0 {
                (self.0.to_string(), format!("{}.", pieces.len()))
            } else {
                (self.piece(number), String::new())
            };
            cookie(&name, &format!("{start}{piece}"), seconds)
        };
        pieces.iter().enumerate().map(text).collect()
    }

    fn piece(&self, number: usize) -> String {
        format!("{}.{number}", self.0)
    }

    /// What keeps a login.
    pub(crate) fn keep_login(&self, state: &str, login: &str) -> Option<HeaderValue> {
        cookie(&self.login_name(state)?, login, UNDER_WAY)
    }

    /// The login that this answer of the provider belongs to.
    pub(crate) fn login<'r>(&self, state: &str, request: &View<'r>) -> Option<&'r str> {
        request.cookie(&self.login_name(state)?)
    }

    /// A name of its own for each login: one may log in from several tabs at once.
    fn login_name(&self, state: &str) -> Option<String> {
        let known = state
            .get(..8)
            .filter(|start| start.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)))?;
        Some(format!("{}.login-{known}", self.0))
    }

    /// What ends the login.
    pub(crate) fn end_login(&self, state: &str) -> Option<HeaderValue> {
        cookie(&self.login_name(state)?, "", 0)
    }

    /// What ends older logins, where there are so many that the fields of the next request would grow too long.
    pub(crate) fn end_logins(&self, request: &View<'_>) -> Vec<HeaderValue> {
        let start = format!("{}.login-", self.0);
        let names: Vec<&str> = names(request).filter(|name| name.starts_with(&start)).collect();
        if names.len() < LOGINS {
            Vec::new()
        } else {
            names.iter().take(32).filter_map(|name| cookie(name, "", 0)).collect()
        }
    }

    /// What ends the session: every piece of it that the browser shows.
    pub(crate) fn end(&self, request: &View<'_>) -> Vec<HeaderValue> {
        let own = names(request).filter(|name| self.has(name));
        own.take(32).filter_map(|name| cookie(name, "", 0)).collect()
    }
}

/// The names of all cookies of a request.
fn names<'r>(request: &View<'r>) -> impl Iterator<Item = &'r str> {
    let lines = request.head.headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| Some(pair.trim().split_once('=')?.0))
}

fn cookie(name: &str, value: &str, seconds: i64) -> Option<HeaderValue> {
    let text = format!("{name}={value}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax", seconds.max(0));
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use testkit::Caller;

    use super::*;

    fn shown<T>(fields: &[&str], use_it: impl FnOnce(&View<'_>) -> T) -> T {
        let mut caller = Caller::new();
        for field in fields {
            caller.head.append_header("cookie", *field).unwrap();
        }
        use_it(&caller.view())
    }

    #[test]
    fn a_long_session_comes_back_whole_and_one_too_long_is_not_kept() {
        let cookies = Cookies::new("staff");
        for length in [1, PIECE, PIECE + 1, 3 * PIECE, PIECES * PIECE] {
            let session = "s".repeat(length);
            let kept = cookies.keep(&session, 60).unwrap();
            assert!(kept.iter().all(|field| field.len() < 4096));
            let pairs: Vec<&str> =
                kept.iter().map(|field| field.to_str().unwrap().split(';').next().unwrap()).collect();
            assert_eq!(shown(&pairs, |request| cookies.session(request).unwrap().len()), length);
            assert_eq!(shown(&[&pairs.join("; ")], |request| cookies.session(request).unwrap().len()), length);
            assert_eq!(shown(&pairs, |request| cookies.end(request).len()), kept.len());
            if pairs.len() > 1 {
                assert!(shown(&pairs[..pairs.len() - 1], |request| cookies.session(request).is_none()));
            }
        }
        assert!(cookies.keep(&"s".repeat(PIECES * PIECE + 1), 60).is_none());
        for wrong in ["0.a", "5.a", "x", "1", "-1.a"] {
            assert!(shown(&[&format!("__Host-maitred-staff={wrong}")], |request| cookies.session(request).is_none()));
        }
    }

    #[test]
    fn it_knows_its_own() {
        let cookies = Cookies::new("staff");
        for own in ["__Host-maitred-staff", "__Host-maitred-staff.1", "__Host-maitred-staff.login-abc"] {
            assert!(cookies.has(own), "{own}");
        }
        assert!(!cookies.has("__Host-maitred-staff2") && !cookies.has("staff"));
        assert_eq!(&*Cookies::new("/a").0, "__Host-maitred-2f61");
    }
}
