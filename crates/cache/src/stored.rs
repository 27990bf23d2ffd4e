//! An answer that is kept: its head, its content, and what has to be known to use it again.

use std::{
    iter,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

pub(crate) mod compact;
mod record;

use filter::View;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora_http::ResponseHeader;
use smallvec::SmallVec;

use crate::{
    apart::Apart,
    content::Content,
    directives::Said,
    freshness::{self, Freshness, Millis, Times},
    key::{self, selecting},
    ledger,
    policy::Policy,
    storing::{self, Asking, Unkept, nominated},
};

/// An answer of the origin with what it takes to use it again. Immutable but for its content, which grows until it is whole.
#[derive(Debug)]
pub struct Stored {
    /// Without framing, age, and fields that are for one connection or one user.
    head: ResponseHeader,
    content: Arc<Content>,
    freshness: Freshness,
    /// The request headers that it depends on, with the values that it is for.
    selecting: Box<[(HeaderName, Option<Vec<u8>>)]>,
    /// Whether it may answer requests with `Authorization` (RFC 9111 section 3.5).
    for_authorized: bool,
    label: Arc<Label>,
    /// When it was purged softly: it is stale from then on. 0 where it was not.
    outdated: AtomicU64,
    /// Whether a later answer for the same requests is known since before it was kept.
    overtaken: AtomicBool,
}

/// What purges know an answer by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) url: Url,
    /// What of the URL tells it from others.
    pub(crate) apart: Arc<Apart>,
    pub(crate) tags: Box<[Box<str>]>,
    /// Where the moments are kept when something of it was changed, which every hit looks at: of its URL first, and then of
    /// the groups that it is of (RFC 9875).
    places: Box<[ledger::Place]>,
}

impl Label {
    pub(crate) fn new(url: Url, apart: Arc<Apart>, tags: Box<[Box<str>]>) -> Self {
        let host = if tags.is_empty() { String::new() } else { ledger::of_group(&url.host) };
        let own = ledger::place(&url.host, &url.path);
        let places = iter::once(own).chain(tags.iter().map(|tag| ledger::place(&host, tag))).collect();
        Self { url, apart, tags, places }
    }

    /// Where the moments are kept when something was changed that it is of.
    pub(crate) fn places(&self) -> &[ledger::Place] {
        &self.places
    }

    /// Those of its groups alone.
    pub(crate) fn group_places(&self) -> &[ledger::Place] {
        self.places.get(1..).unwrap_or_default()
    }

    /// What it takes of memory.
    pub(crate) fn weight(&self) -> u64 {
        let Url { origin, host, path, query } = &self.url;
        let url = origin.len() + host.len() + path.len() + query.as_ref().map_or(0, |query| query.len());
        let tags: usize = self.tags.iter().map(|tag| tag.len() + 16).sum();
        (url + tags + size_of_val(&*self.places) + self.apart.weight() + 80) as u64
    }
}

/// What was asked for, as people write it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    /// Scheme and host, `https://example.com`.
    pub(crate) origin: Box<str>,
    /// The host alone.
    pub(crate) host: Box<str>,
    pub(crate) path: Box<str>,
    /// As much of it as tells answers apart.
    pub(crate) query: Option<Box<str>>,
}

impl Url {
    /// What a request asks for.
    fn of(request: &View<'_>, policy: &Policy) -> Self {
        let query = policy.query(request).map_or_else(|| request.query.map(Into::into), |query| Some(query.into()));
        Self {
            origin: format!("{}://{}", request.client.scheme.as_str(), request.host).into(),
            host: request.host.into(),
            path: request.path.into(),
            query,
        }
    }
}

/// Fields of an answer that are for who has asked for it, and are not kept.
pub type Withheld = Vec<(HeaderName, HeaderValue)>;

/// What an answer is told by that was just fetched.
pub struct Fetched<'a> {
    /// The head as the origin sent it, without what is for one connection.
    pub head: ResponseHeader,
    /// The request as the client sent it.
    pub request: &'a View<'a>,
    /// When it was asked for and when it came.
    pub times: Times,
}

impl Stored {
    /// Takes an answer in, and says whether it may be kept, and without which fields.
    pub fn new(fetched: Fetched<'_>, content: Arc<Content>, policy: &Policy) -> (Self, Result<Withheld, Unkept>) {
        let Fetched { mut head, request, times } = fetched;
        if freshness::date(&head.headers, &header::DATE).is_none() {
            // RFC 9110 section 6.6.1: it is of the moment when it came.
            let came = UNIX_EPOCH + Duration::from_millis(times.answered);
            let _ = head.insert_header(header::DATE, httpdate::fmt_http_date(came));
        }
        let (said, targeted) = Said::of(&head.headers, policy.targeted());
        let fields = &request.head.headers;
        let asking = Asking {
            authorized: fields.contains_key(header::AUTHORIZATION),
            no_store: crate::Asked::of(fields).no_store,
        };
        let kept = storing::judge(asking, head.status, (&said, targeted), &head.headers, policy);
        let freshness = Freshness::of(&said, targeted, head.status, &head.headers, policy, times);
        let kept = kept.and_then(|()| {
            let validates = head.headers.contains_key(header::ETAG) || head.headers.contains_key(header::LAST_MODIFIED);
            if validates || freshness.is_useful() { Ok(()) } else { Err(Unkept::NoFreshness) }
        });
        let kept = kept.and_then(|()| match content.length() {
            Some(length) if length > policy.max_object() => Err(Unkept::TooLarge),
            _ => Ok(()),
        });
        let kept = kept.map(|()| withhold(&mut head, &said));
        let stored = Self {
            selecting: selecting_fields(&head.headers, fields, policy.asks_plain()),
            for_authorized: storing::allows_authorization(&said),
            label: Arc::new(Label::new(Url::of(request, policy), policy.apart.clone(), policy.tags_of(&head.headers))),
            outdated: AtomicU64::new(0),
            overtaken: AtomicBool::new(false),
            head: bare(head),
            content,
            freshness,
        };
        (stored, kept)
    }

    /// The same answer, made fresh by a 304 (RFC 9111 section 3.2): every field of it takes the place of the old ones, but
    /// for those that are about the content. `None` where it is about another one (RFC 9111 section 4.3.4).
    pub fn freshened(&self, fetched: Fetched<'_>, policy: &Policy) -> Option<(Self, Result<Withheld, Unkept>)> {
        let Fetched { head: update, request, times } = fetched;
        if !is_about(&update.headers, &self.head.headers) {
            return None;
        }
        let mut head = self.head.clone();
        // What says how old the answer is, is said anew or not at all.
        head.remove_header(&header::AGE);
        head.remove_header(&header::DATE);
        for name in update.headers.keys().filter(|name| !is_about_content(name)) {
            head.remove_header(name);
            for value in update.headers.get_all(name) {
                // An append fails beyond 32,768 fields, which no parser lets through.
                let _ = head.append_header(name.clone(), value.clone());
            }
        }
        // A cookie is not kept; where it is for the requester alone they have it nevertheless.
        let is_own = update.headers.contains_key(header::SET_COOKIE)
            && Said::of(&head.headers, policy.targeted()).0.withheld().any(|name| *name == header::SET_COOKIE);
        let (stored, kept) = Self::new(Fetched { head, request, times }, self.content.clone(), policy);
        let kept = kept.map(|mut withheld| {
            withheld.extend(all(&update.headers, &header::SET_COOKIE).filter(|_| is_own));
            withheld
        });
        Some((stored, kept))
    }

    /// The head, without framing and age.
    pub fn head(&self) -> &ResponseHeader {
        &self.head
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The content.
    pub fn content(&self) -> &Arc<Content> {
        &self.content
    }

    /// How old it is and how long it will do.
    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// Whether it may answer this request, which has the same key.
    pub fn is_for(&self, request: &HeaderMap) -> bool {
        self.answers(&key::Selecting::of(request))
    }

    /// The same, for one of several answers.
    pub(crate) fn answers(&self, request: &key::Selecting<'_>) -> bool {
        request.gets(&self.selecting, self.for_authorized)
    }

    /// The request headers that it depends on, with the values that it is for.
    pub(crate) fn selecting(&self) -> &[(HeaderName, Option<Vec<u8>>)] {
        &self.selecting
    }

    /// Whether it may answer requests with `Authorization`.
    pub(crate) fn for_authorized(&self) -> bool {
        self.for_authorized
    }

    /// Whether it takes the place of `other` under the same key: both are for the same requests.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        self.selecting == other.selecting
    }

    /// What a request has to say to find out whether it is still the same (RFC 9111 section 4.3.1).
    pub fn conditions(&self) -> SmallVec<[(HeaderName, HeaderValue); 2]> {
        let fields = &self.head.headers;
        let pair = |name: HeaderName, of: HeaderName| Some((name, fields.get(of)?.clone()));
        pair(header::IF_NONE_MATCH, header::ETAG)
            .into_iter()
            .chain(pair(header::IF_MODIFIED_SINCE, header::LAST_MODIFIED))
            .collect()
    }

    /// Makes it stale from then on.
    pub(crate) fn outdate(&self, when: Millis) {
        self.outdated.fetch_max(when, Ordering::Relaxed);
    }

    /// Since when it is stale by order; 0 where it is not.
    pub(crate) fn outdated(&self) -> Millis {
        self.outdated.load(Ordering::Relaxed)
    }

    /// A later one for the same requests is known before it is kept.
    pub(crate) fn overtake(&self) {
        self.overtaken.store(true, Ordering::SeqCst);
    }

    /// Whether a later one is known, so that it is not to be kept.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.overtaken.load(Ordering::SeqCst)
    }

    /// For how long, in milliseconds, it is fresh or has been stale (negative).
    pub fn left(&self, now: Millis) -> i64 {
        let left = self.freshness.left(now);
        match self.outdated.load(Ordering::Relaxed) {
            0 => left,
            since => left.min(-i64::try_from(now.saturating_sub(since)).unwrap_or(i64::MAX)),
        }
    }

    /// Whether it may be used while it is asked for anew (RFC 5861 section 3).
    pub fn does_while_revalidating(&self, now: Millis) -> bool {
        self.is_within(self.freshness.while_revalidating, now)
    }

    /// Whether it may be used where asking failed (RFC 5861 section 4).
    pub fn does_on_error(&self, now: Millis) -> bool {
        self.is_within(self.freshness.on_error, now)
    }

    /// Whether it is said that it may be used where asking failed, however fresh it is.
    pub fn is_for_errors(&self) -> bool {
        self.freshness.on_error > 0
    }

    fn is_within(&self, window: Millis, now: Millis) -> bool {
        let left = self.left(now);
        !self.freshness.always_ask() && (left > 0 || left.unsigned_abs() < window)
    }

    pub(crate) fn label(&self) -> &Arc<Label> {
        &self.label
    }

    /// What it takes of memory.
    pub(crate) fn weight(&self) -> u64 {
        let selecting: usize = self.selecting.iter().map(|(_, value)| 96 + value.as_ref().map_or(0, Vec::len)).sum();
        let head = compact::weight(&self.head.headers) + self.label.weight() + selecting as u64 + FIXED;
        compact::with_gaps(self.content.size() + head)
    }
}

/// What an answer costs beside all that has a length: itself, its content, its place in the zone and what is remembered
/// there of those that had to go.
const FIXED: u64 = 1536;

/// The values of the request that the answer depends on. An encoded answer depends on who can decode it, whether it says
/// so or not; a plain one that the route compresses by itself depends on nobody.
fn selecting_fields(answer: &HeaderMap, request: &HeaderMap, plain: bool) -> Box<[(HeaderName, Option<Vec<u8>>)]> {
    let encoded = answer.contains_key(header::CONTENT_ENCODING).then_some(header::ACCEPT_ENCODING);
    let mut names: SmallVec<[HeaderName; 4]> = nominated(answer).chain(encoded.clone()).collect();
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names.retain(|name| encoded.is_some() || !plain || *name != header::ACCEPT_ENCODING);
    names.into_iter().map(|name| (name.clone(), selecting(request, &name))).collect()
}

/// Takes out the fields that must not be used again as they are (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
fn withhold(head: &mut ResponseHeader, said: &Said) -> Withheld {
    let mut withheld = Vec::new();
    for name in said.withheld() {
        withheld.extend(all(&head.headers, name));
        head.remove_header(name);
    }
    withheld
}

fn all(fields: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    fields.get_all(name).into_iter().map(|value| (name.clone(), value.clone()))
}

/// Without what is said anew each time.
fn bare(mut head: ResponseHeader) -> ResponseHeader {
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::AGE] {
        head.remove_header(&name);
    }
    compact::compact(&head)
}

/// Whether a 304 is about an answer (RFC 9111 section 4.3.4): a strong tag is the same, a weak one or else a date corresponds. One
/// that says neither was asked about this answer alone.
fn is_about(update: &HeaderMap, kept: &HeaderMap) -> bool {
    let told = |name: HeaderName| update.get(&name).map(|value| (value.as_bytes(), kept.get(&name)));
    match (told(header::ETAG), told(header::LAST_MODIFIED)) {
        (Some((tag, ours)), _) => ours.is_some_and(|ours| {
            let weak = tag.strip_prefix(b"W/");
            let opaque = weak.and(ours.as_bytes().strip_prefix(b"W/")).unwrap_or(ours.as_bytes());
            weak.unwrap_or(tag) == opaque
        }),
        (None, Some((date, Some(ours)))) => date == ours.as_bytes(),
        (None, _) => true,
    }
}

/// RFC 9111 section 3.2.
fn is_about_content(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONTENT_LENGTH
            | header::CONTENT_ENCODING
            | header::CONTENT_TYPE
            | header::CONTENT_RANGE
            | header::TRANSFER_ENCODING
            | header::SET_COOKIE
    )
}

#[cfg(test)]
mod tests;
