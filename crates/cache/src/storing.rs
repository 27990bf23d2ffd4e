//! Whether an answer may be kept (RFC 9111 section 3).

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::{
    directives::{Reach, Said},
    freshness::is_heuristically_cacheable,
    policy::Policy,
};

/// Why an answer is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unkept {
    /// It, or the request, says `no-store`.
    NoStore,
    /// It is for one user, or a field is without which nobody knows for whom else it is, or how it is called.
    Private,
    /// It was asked for with `Authorization`, and does not say that others may have it.
    Authorization,
    /// It sets a cookie.
    Cookie,
    /// It depends on what nobody knows (`Vary: *`), or on what the origin was told and the request does not say.
    Vary,
    /// It is a part, or its status means nothing to a cache.
    Status,
    /// Nothing says how long it is fresh.
    NoFreshness,
    /// It is larger than `max_object`.
    TooLarge,
}

impl Unkept {
    /// The word for `Cache-Status`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::Cookie => "set-cookie",
            Self::Vary => "vary",
            Self::Status => "status",
            Self::NoFreshness => "no-freshness",
            Self::TooLarge => "too-large",
        }
    }
}

/// What counts of the request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asking {
    /// It has `Authorization`.
    pub authorized: bool,
    /// It says `no-store`.
    pub no_store: bool,
}

/// Whether a shared cache may keep the answer to a GET, which says this, to such caches in particular or to all.
pub(crate) fn judge(
    asking: Asking,
    status: StatusCode,
    (said, targeted): (&Said, bool),
    fields: &HeaderMap,
    policy: &Policy,
) -> Result<(), Unkept> {
    // RFC 9111 section 5.2.2.3: who understands the status passes over no-store.
    let understood = said.must_understand && understands(status);
    if asking.no_store || (said.no_store && !understood) || (said.must_understand && !understood) {
        return Err(Unkept::NoStore);
    }
    if said.private == Reach::Whole {
        return Err(Unkept::Private);
    }
    // Without such a field it would be given to others, or stay where it is to go.
    if said.withheld().any(|name| fields.contains_key(name) && policy.goes_by(name)) {
        return Err(Unkept::Private);
    }
    if asking.authorized && !allows_authorization(said) {
        return Err(Unkept::Authorization);
    }
    if fields.contains_key(header::SET_COOKIE) {
        return Err(Unkept::Cookie);
    }
    if varies_by_anything(fields) || nominated(fields).any(|name| policy.untold.contains(&name)) {
        return Err(Unkept::Vary);
    }
    // RFC 9111 section 3.3: parts are not put together here. A 304 without anything to validate is nobody's answer.
    let partial = matches!(status.as_u16(), 206 | 304) || fields.contains_key(header::CONTENT_RANGE);
    if partial || status.is_informational() {
        return Err(Unkept::Status);
    }
    let told = said.max_age.is_said() || said.s_maxage.is_said() || (!targeted && fields.contains_key(header::EXPIRES));
    let known = told || said.public || policy.ttl_of(status).is_some() || is_heuristically_cacheable(status);
    if known { Ok(()) } else { Err(Unkept::NoFreshness) }
}

/// Whether an answer is about this one request and who sent it. One that is not kept says nothing of what is kept for others:
/// RFC 9111 section 4.3.3 does not demand that it takes its place.
pub fn is_about_the_request(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 407 | 408 | 417 | 421 | 425 | 429 | 431)
}

/// RFC 9111 section 3.5.
pub(crate) fn allows_authorization(said: &Said) -> bool {
    said.public || said.must_revalidate || said.s_maxage.is_said()
}

/// The statuses whose caching is defined (RFC 9110 section 15).
fn understands(status: StatusCode) -> bool {
    is_heuristically_cacheable(status) || matches!(status.as_u16(), 201 | 202 | 302 | 303 | 307 | 400..=403 | 406..=409)
}

/// The names that `Vary` lists, in lower case (RFC 9110 section 12.5.5).
pub(crate) fn nominated(fields: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    members_of_vary(fields).filter_map(|name| HeaderName::from_bytes(name).ok())
}

/// Whether `Vary` says that nobody knows what the answer depends on, or says it in a way that nobody can read, such as
/// `Accept-Language Cookie` without a comma. To pass over what cannot be read would give one user's answer to all.
fn varies_by_anything(fields: &HeaderMap) -> bool {
    members_of_vary(fields).any(|name| name == b"*" || HeaderName::from_bytes(name).is_err())
}

/// Empty ones count for nothing (RFC 9110 section 5.6.1.2).
fn members_of_vary(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = fields.get_all(header::VARY).into_iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests;
