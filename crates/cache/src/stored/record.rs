//! An answer without its content, written down and read again.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use http::{HeaderName, HeaderValue, Version};
use pingora_http::ResponseHeader;

use super::{Label, Stored, Url};
use crate::{
    apart::Apart,
    content::Content,
    freshness::Freshness,
    key::{Key, Sealed},
    wire::{In, Out},
};

impl Stored {
    /// All of it but its content, with the key that it is kept under. Of the request nothing is in it but the URL
    /// and what it depends on, which is a sum but for what lets nobody in.
    pub(crate) fn record(&self, key: &Key) -> Vec<u8> {
        let mut out = Out::default();
        out.text(key.sealed().bytes());
        out.number(u64::from(self.head.status.as_u16()));
        out.flag(self.head.version == Version::HTTP_2);
        let fields: Vec<(&[u8], &HeaderValue)> = if self.head.has_case() {
            self.head.case_header_iter().map(|(name, value)| (name.as_slice(), value)).collect()
        } else {
            self.head.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value)).collect()
        };
        out.number(fields.len() as u64);
        for (name, value) in fields {
            out.text(name);
            out.text(value.as_bytes());
        }
        self.freshness.write(&mut out);
        out.number(self.selecting.len() as u64);
        for (name, value) in &self.selecting {
            out.text(name.as_str().as_bytes());
            out.maybe(value.as_deref());
        }
        out.flag(self.for_authorized);
        let Label { url, apart, tags, .. } = &*self.label;
        out.number(tags.len() as u64);
        tags.iter().for_each(|tag| out.text(tag.as_bytes()));
        [&url.origin, &url.host, &url.path].into_iter().for_each(|part| out.text(part.as_bytes()));
        out.maybe(url.query.as_ref().map(|query| query.as_bytes()));
        apart.write(&mut out);
        out.0
    }

    /// Reads a [`record`](Stored::record). `None` for anything else.
    pub(crate) fn read(record: &[u8], content: Arc<Content>) -> Option<(Sealed, Self)> {
        let mut from = In(record);
        let key = Sealed::read(from.text()?)?;
        let mut head = ResponseHeader::build(u16::try_from(from.number()?).ok()?, None).ok()?;
        if from.flag()? {
            head.set_version(Version::HTTP_2);
        }
        for _ in 0..from.number()? {
            let (name, value) = (from.string()?.to_owned(), HeaderValue::from_bytes(from.text()?).ok()?);
            head.append_header(name, value).ok()?;
        }
        let freshness = Freshness::read(&mut from)?;
        let mut selecting = Vec::new();
        for _ in 0..from.number()? {
            let name = HeaderName::from_bytes(from.text()?).ok()?;
            selecting.push((name, from.maybe()?.map(<[u8]>::to_vec)));
        }
        let for_authorized = from.flag()?;
        let mut tags = Vec::new();
        for _ in 0..from.number()? {
            tags.push(from.string()?.into());
        }
        let (origin, host, path) = (from.string()?.into(), from.string()?.into(), from.string()?.into());
        let query = match from.maybe()? {
            Some(query) => Some(std::str::from_utf8(query).ok()?.into()),
            None => None,
        };
        let apart = Arc::new(Apart::read(&mut from)?);
        if !from.0.is_empty() {
            return None;
        }
        let stored = Self {
            head,
            content,
            freshness,
            selecting: selecting.into(),
            for_authorized,
            label: Arc::new(Label::new(Url { origin, host, path, query }, apart, tags.into())),
            outdated: AtomicU64::new(0),
            overtaken: AtomicBool::new(false),
        };
        Some((key, stored))
    }

    /// The same with this content.
    #[must_use]
    pub(crate) fn with(self, content: Arc<Content>) -> Self {
        Self { content, ..self }
    }
}
