//! What `Cache-Control` says, on either side (RFC 9111 section 5.2).

use http::{HeaderMap, HeaderName, header};
use sfv::{BareItem, Item, ListEntry, Parser};

use crate::structured;

/// The directives of an answer (RFC 9111 section 5.2.2, RFC 5861, RFC 8246).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Nobody may keep it.
    pub no_store: bool,
    /// Everybody may keep it.
    pub public: bool,
    /// Once stale it is not used without asking.
    pub must_revalidate: bool,
    /// The same for shared caches.
    pub proxy_revalidate: bool,
    /// Only who understands the status may keep it.
    pub must_understand: bool,
    /// It, or these fields of it, must be asked for each time.
    pub no_cache: Reach,
    /// It, or these fields of it, are for one user.
    pub private: Reach,
    /// How long it is fresh.
    pub max_age: Delta,
    /// How long it is fresh for shared caches.
    pub s_maxage: Delta,
    /// How long it may be used while it is asked for anew.
    pub stale_while_revalidate: Delta,
    /// How long it may be used where asking failed.
    pub stale_if_error: Delta,
}

/// The directives of a request (RFC 9111 section 5.2.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Nothing of the exchange may be kept.
    pub no_store: bool,
    /// Nothing is to be used without asking.
    pub no_cache: bool,
    /// Nobody is to be asked.
    pub only_if_cached: bool,
    /// The oldest answer that will do, in seconds.
    pub max_age: Option<u64>,
    /// How long the answer has to stay fresh, in seconds.
    pub min_fresh: Option<u64>,
    /// For how many seconds the answer may have been stale.
    pub max_stale: Option<u64>,
}

/// How much of an answer a directive is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reach {
    /// Nothing: the directive is not there.
    #[default]
    None,
    /// These fields.
    Fields(Vec<HeaderName>),
    /// All of it.
    Whole,
}

/// A number of seconds that is said (RFC 9111 section 1.2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Delta {
    /// Not at all.
    #[default]
    Absent,
    /// In a way that nobody can read, which makes the answer stale (RFC 9111 section 4.2.1).
    Unreadable,
    /// So many seconds.
    Seconds(u64),
}

/// What is larger than a cache can count counts as this (RFC 9111 section 1.2.2).
const FOREVER: u64 = 1 << 31;

impl Delta {
    pub(crate) fn read(value: Option<&[u8]>) -> Self {
        let Some(digits) = value.filter(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit)) else {
            return Self::Unreadable;
        };
        let number = digits.iter().try_fold(0_u64, |sum, digit| {
            let sum = sum * 10 + u64::from(digit - b'0');
            (sum < FOREVER).then_some(sum)
        });
        Self::Seconds(number.unwrap_or(FOREVER))
    }

    /// Of several the first counts (RFC 9111 section 4.2.1).
    fn first(&mut self, value: Option<&[u8]>) {
        if *self == Self::Absent {
            *self = Self::read(value);
        }
    }

    /// The seconds; none where they cannot be read; `None` where nothing is said.
    pub fn seconds(self) -> Option<u64> {
        match self {
            Self::Absent => None,
            Self::Unreadable => Some(0),
            Self::Seconds(seconds) => Some(seconds),
        }
    }

    /// Whether anything is said.
    pub fn is_said(self) -> bool {
        self != Self::Absent
    }
}

impl Reach {
    fn widen(&mut self, value: Option<&[u8]>) {
        let Some(names) = value.filter(|names| !names.is_empty()) else {
            *self = Self::Whole;
            return;
        };
        let names = names.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        match names.map(HeaderName::from_bytes).collect::<Result<Vec<_>, _>>() {
            Ok(names) => match self {
                Self::Whole => {}
                Self::Fields(known) => known.extend(names),
                Self::None => *self = Self::Fields(names),
            },
            // What cannot be read is taken in the strictest sense.
            Err(_) => *self = Self::Whole,
        }
    }
}

impl Said {
    /// What an answer says to a shared cache, and whether it says it to such ones in particular: of the fields `targets`,
    /// the first that says anything counts instead of `Cache-Control` and `Expires` (RFC 9213 section 2.2).
    pub fn of(fields: &HeaderMap, targets: &[HeaderName]) -> (Self, bool) {
        match targets.iter().find_map(|name| Self::targeted(fields, name)) {
            Some(said) => (said, true),
            None => (Self::read(fields), false),
        }
    }

    fn read(fields: &HeaderMap) -> Self {
        let mut said = Self::default();
        for (directive, value) in directives(fields, &header::CACHE_CONTROL) {
            said.note(&directive.to_ascii_lowercase(), value);
        }
        said
    }

    /// What a targeted field says, which is a dictionary. `None` where it is empty or is none: it does not count then (RFC
    /// 9213 section 2.1).
    fn targeted(fields: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let said = Parser::parse_dictionary(&structured::text(fields, name)?).ok()?;
        let mut this = Self::default();
        for (directive, member) in &said {
            // Parameters are passed over.
            let ListEntry::Item(Item { bare_item, .. }) = member else { continue };
            match bare_item {
                BareItem::Boolean(true) => this.note(directive.as_bytes(), None),
                BareItem::Integer(number) => this.note(directive.as_bytes(), Some(number.to_string().as_bytes())),
                BareItem::String(text) | BareItem::Token(text) => {
                    this.note(directive.as_bytes(), Some(text.as_bytes()))
                }
                _ => {}
            }
        }
        (!said.is_empty()).then_some(this)
    }

    /// Takes a directive in, whose name is in lower case.
    fn note(&mut self, directive: &[u8], value: Option<&[u8]>) {
        match directive {
            b"no-store" => self.no_store = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"no-cache" => self.no_cache.widen(value),
            b"private" => self.private.widen(value),
            b"max-age" => self.max_age.first(value),
            b"s-maxage" => self.s_maxage.first(value),
            b"stale-while-revalidate" => self.stale_while_revalidate.first(value),
            b"stale-if-error" => self.stale_if_error.first(value),
            // RFC 9111 section 5.2.3: what is not known is passed over.
            _ => {}
        }
    }

    /// Whether a stale answer must not be used (RFC 9111 section 4.2.4).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_said() || self.no_cache == Reach::Whole
    }

    /// The fields that must not be used again as they are (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
    pub fn withheld(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.no_cache, &self.private].into_iter().flat_map(|reach| match reach {
            Reach::Fields(names) => names.as_slice(),
            _ => &[],
        })
    }
}

impl Asked {
    /// Whether nothing does that was asked for before the request came.
    pub fn is_anew(&self) -> bool {
        self.no_cache || self.max_age == Some(0)
    }

    /// What a request asks of caches. `Pragma` counts where there is no `Cache-Control` (RFC 9111 section 5.4).
    pub fn of(fields: &HeaderMap) -> Self {
        let mut asked = Self::default();
        if !fields.contains_key(header::CACHE_CONTROL) {
            asked.no_cache =
                directives(fields, &header::PRAGMA).any(|(name, _)| name.eq_ignore_ascii_case(b"no-cache"));
            return asked;
        }
        for (directive, value) in directives(fields, &header::CACHE_CONTROL) {
            let seconds = || Delta::read(value).seconds();
            match &*directive.to_ascii_lowercase() {
                b"no-store" => asked.no_store = true,
                b"no-cache" => asked.no_cache = true,
                b"only-if-cached" => asked.only_if_cached = true,
                b"max-age" => asked.max_age = asked.max_age.or_else(seconds),
                b"min-fresh" => asked.min_fresh = asked.min_fresh.or_else(seconds),
                // RFC 9111 section 5.2.1.2: without a value, however stale.
                b"max-stale" => asked.max_stale = value.map_or(Some(FOREVER), |_| seconds()),
                _ => {}
            }
        }
        asked
    }
}

/// The directives of all lines of a field: names, and values without their quotes.
fn directives<'h>(
    fields: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + use<'h> {
    fields.get_all(name).into_iter().flat_map(|line| Members(line.as_bytes()))
}

/// What is left of a line of directives.
struct Members<'h>(&'h [u8]);

impl<'h> Iterator for Members<'h> {
    type Item = (&'h [u8], Option<&'h [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.0.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let text = &self.0[start..];
        let end = text.iter().position(|byte| matches!(byte, b'=' | b',')).unwrap_or(text.len());
        let name = text[..end].trim_ascii();
        let Some(value) = text[end..].strip_prefix(b"=") else {
            self.0 = &text[end..];
            return Some((name, None));
        };
        let value = value.trim_ascii_start();
        let (value, rest) = match value.strip_prefix(b"\"") {
            Some(quoted) => quoted_string(quoted),
            None => value.split_at(value.iter().position(|byte| *byte == b',').unwrap_or(value.len())),
        };
        let comma = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
        self.0 = &rest[comma..];
        Some((name, Some(value.trim_ascii())))
    }
}

/// The inside of a quoted string and what follows it. None of the values that count has an escape in it.
fn quoted_string(text: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' if !escaped => return (&text[..at], &text[at + 1..]),
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    (text, &[])
}

#[cfg(test)]
mod tests;
