//! What a route keeps, as run.

use std::sync::Arc;

use document::{Duration, Size};
use filter::{View, networks::Networks, template::Input};
use http::{HeaderMap, HeaderName, StatusCode, header};
use sfv::{BareItem, Item, ListEntry, Parser};

use crate::{
    apart::Apart,
    key::{Key, Part},
    storing::is_about_the_request,
    structured,
};

/// What a route keeps, and how it tells answers apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The route's name: what two routes answer is never the same.
    pub(crate) route: Box<str>,
    /// All times in milliseconds.
    pub(crate) ttl: Option<u64>,
    pub(crate) replace: bool,
    pub(crate) stale: u64,
    pub(crate) stale_if_error: u64,
    /// By status, or by its class where it is below 10.
    pub(crate) status: Box<[(u16, u64)]>,
    pub(crate) key: Box<[Part]>,
    /// What of a URL is part of the key.
    pub(crate) apart: Arc<Apart>,
    pub(crate) vary: Box<[HeaderName]>,
    pub(crate) bypass: Box<[Part]>,
    /// What the origin is told in them no request says, and no key.
    pub(crate) untold: Box<[HeaderName]>,
    pub(crate) tags: Box<[HeaderName]>,
    /// Which fields say to caches like this one alone how long an answer is fresh.
    pub(crate) targeted: Box<[HeaderName]>,
    pub(crate) max_object: u64,
    /// Who may purge by method.
    pub(crate) purge: Option<Networks>,
    /// What the origin is asked for, beside what the request says, and of what the key has the values: where that changes, so do
    /// the answers.
    pub(crate) origin: u64,
    /// Whether the route compresses by itself, so that the origin is asked for the plain content.
    pub(crate) plain: bool,
}

impl Policy {
    /// How long an answer of this status is fresh by what is configured, in milliseconds.
    pub(crate) fn ttl_of(&self, status: StatusCode) -> Option<u64> {
        let by_status = |code: u16| self.status.iter().find(|(known, _)| *known == code).map(|(_, ttl)| *ttl);
        let code = status.as_u16();
        // Nobody means by `4xx` that one request that is refused, for what it says or who sends it, is to refuse all others.
        let by_class = || by_status(code / 100).filter(|_| !is_about_the_request(status));
        by_status(code).or_else(by_class).or_else(|| {
            // What is said of answers in general is not meant for errors.
            self.ttl.filter(|_| matches!(code, 200 | 203 | 204 | 300 | 301 | 308))
        })
    }

    /// Whether this request lets go of kept answers; `None` where it is one like any other.
    pub fn purges(&self, request: &View<'_>) -> Option<bool> {
        let purge = self.purge.as_ref().filter(|_| request.head.method.as_str() == "PURGE")?;
        Some(request.client.address.is_some_and(|address| purge.contains(address)))
    }

    /// Whether the origin may make its answer depend on this request header and nobody would know: a name by which
    /// frameworks let the method, the host or the path be another one, and which tells no answers apart.
    pub fn hides(&self, name: &HeaderName) -> bool {
        let keyed = || self.key.iter().any(|part| matches!(part, Part::Header(keyed) if keyed == name));
        POISONS.iter().any(|poison| alike(name.as_str(), poison)) && !self.vary.contains(name) && !keyed()
    }

    /// No answer is kept that varies by one of these request headers: the origin is told in them what requests do not say
    /// and keys do not have, so that nobody knows for whom else it is.
    pub fn never_vary_by(&mut self, names: Vec<HeaderName>) {
        self.untold = names.into();
    }

    /// Whether this part of a request tells kept answers apart, or keeps the request out, or does not reach the origin.
    pub fn tells_apart(&self, input: &Input<'_>) -> bool {
        let has = |part: &Part| self.key.contains(part);
        let by = |is: &dyn Fn(&Part) -> bool| self.key.iter().chain(&self.bypass).any(is);
        match input {
            Input::Scheme => has(&Part::Scheme),
            Input::Host | Input::Port => has(&Part::Host),
            // The origin is asked with those parameters alone that are part of the key.
            Input::Query | Input::Parameter(_) => true,
            Input::ClientIp => false,
            // RFC 9111 section 3.5.
            Input::Header(name) if **name == header::AUTHORIZATION => true,
            Input::Header(name) => {
                self.hides(name)
                    || self.vary.contains(name)
                    || by(&|part| matches!(part, Part::Header(keyed) if keyed == *name))
            }
            Input::Cookie(name) => {
                by(&|part| matches!(part, Part::Cookie(keyed) if **keyed == **name))
                    || self.tells_apart(&Input::Header(&header::COOKIE))
            }
        }
    }

    /// Whether answers are kept whose origin says nothing about that.
    pub fn keeps_unasked(&self) -> bool {
        self.ttl.is_some() || !self.status.is_empty()
    }

    /// Whether cookies were thought of: one of them tells answers apart, or keeps requests out.
    pub fn minds_cookies(&self) -> bool {
        self.key.iter().chain(&self.bypass).any(|part| matches!(part, Part::Cookie(_)))
    }

    /// Whether the request is to be passed on untouched, and its answer not kept.
    pub fn bypasses(&self, request: &View<'_>) -> bool {
        self.bypass.iter().any(|part| part.is_in(request))
    }

    /// What the answer is kept under; `None` where the caller is known, but not by name, so that nothing tells its
    /// answers from those of others.
    pub fn key(&self, request: &View<'_>) -> Option<Key> {
        Key::of(self, request)
    }

    /// What the answer is kept under, in words; `secret` says which parts of a request nobody is to be shown.
    pub fn describe_key(&self, request: &View<'_>, secret: &dyn Fn(&Input<'_>) -> bool) -> String {
        let mut told: Vec<String> = self.key.iter().map(|part| part.describe(request, secret)).collect();
        told.extend(self.vary.iter().map(|name| Part::Header(name.clone()).describe(request, secret)));
        if let Some(identity) = request.identity {
            let caller = identity.user.as_deref().or(identity.key.as_deref()).unwrap_or_default();
            told.push(format!("caller {caller:?}"));
        }
        told.join(" + ")
    }

    /// The query that the origin is asked with, where not all of it as it stands tells answers apart: nothing else may change
    /// them.
    pub fn query(&self, request: &View<'_>) -> Option<String> {
        self.apart.narrowed(request.query)
    }

    /// Whether hosts have answers of their own.
    pub fn tells_hosts(&self) -> bool {
        self.key.contains(&Part::Host)
    }

    /// The request headers that answers depend on whatever the origin says.
    pub fn vary(&self) -> &[HeaderName] {
        &self.vary
    }

    /// The fields that count instead of `Cache-Control` and `Expires`, the first that says anything (RFC 9213).
    pub fn targeted(&self) -> &[HeaderName] {
        &self.targeted
    }

    /// The largest content that is kept.
    pub fn max_object(&self) -> u64 {
        self.max_object
    }

    /// Whether the origin is to be asked for plain content, because the route compresses it by itself.
    pub fn asks_plain(&self) -> bool {
        self.plain
    }

    /// Whether kept answers are told apart or purged by this field of theirs.
    pub(crate) fn goes_by(&self, name: &HeaderName) -> bool {
        matches!(*name, header::VARY | header::CONTENT_ENCODING) || *name == CACHE_GROUPS || self.tags.contains(name)
    }

    /// The tags of an answer.
    pub(crate) fn tags_of(&self, fields: &HeaderMap) -> Box<[Box<str>]> {
        let tags = self.tags.iter().flat_map(|name| tags(fields, name)).take(MOST_TAGS).map(Into::into);
        groups(fields, &CACHE_GROUPS).into_iter().map(Into::into).chain(tags).collect()
    }

    /// In a few words for who asks what a route does.
    pub fn describe(&self) -> String {
        let duration = |millis: u64| Duration::millis(millis).to_string();
        let mut told = match (self.ttl, self.replace) {
            (None, _) => "as the origin says".to_owned(),
            (Some(ttl), false) => format!("as the origin says, else {}", duration(ttl)),
            (Some(ttl), true) => format!("for {}", duration(ttl)),
        };
        for (code, ttl) in &self.status {
            let code = if *code < 10 { format!("{code}xx") } else { code.to_string() };
            told.push_str(&format!(", {code} {}", duration(*ttl)));
        }
        if self.stale > 0 {
            told.push_str(&format!(", stale for {} while it is asked for anew", duration(self.stale)));
        }
        if self.stale_if_error > 0 {
            told.push_str(&format!(", stale for {} after errors", duration(self.stale_if_error)));
        }
        let parts: Vec<String> = self.key.iter().map(ToString::to_string).collect();
        told.push_str(&format!("; key {}", parts.join(" + ")));
        self.vary.iter().for_each(|name| told.push_str(&format!(" + header:{name}")));
        told.push_str(&format!("; up to {}", Size(self.max_object)));
        told
    }
}

/// The groups that a field names, of which no more than 64 count: a list of strings (RFC 9875 section 2). Nothing where it
/// is none, whatever part of it could be read.
pub fn groups(fields: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let Some(text) = structured::text(fields, name) else { return Vec::new() };
    let strings = Parser::parse_list(&text).unwrap_or_default().into_iter().filter_map(|member| match member {
        ListEntry::Item(Item { bare_item: BareItem::String(group), .. }) => Some(group),
        _ => None,
    });
    strings.take(MOST_TAGS).collect()
}

/// The members of a list of tags, as CDNs write them.
fn tags<'a>(fields: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = fields.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    let members = lines.flat_map(|line| line.split([',', ' '])).map(|tag| tag.trim().trim_matches('"'));
    members.filter(|tag| !tag.is_empty())
}

/// Headers by which frameworks take a request for one of another method, host or path, in lower case. Proxies that are trusted
/// pass them on as their clients sent them.
const POISONS: [&str; 13] = [
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-uri",
    "x-rewrite-url",
];

/// Whether CGI and its heirs take `name` for `poison`: what is no letter or digit counts as a dash.
fn alike(name: &str, poison: &str) -> bool {
    let same = |(byte, wanted): (u8, u8)| byte == wanted || (wanted == b'-' && !byte.is_ascii_alphanumeric());
    name.len() == poison.len() && name.bytes().zip(poison.bytes()).all(same)
}

/// RFC 9875 section 2.
static CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");

/// How many tags of one answer count.
const MOST_TAGS: usize = 64;
