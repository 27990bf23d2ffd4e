//! What request and response heads have in common.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_http::{RequestHeader, ResponseHeader};
use smallvec::SmallVec;

/// A head whose fields can be changed. Names are given as they shall be written, which HTTP/1.1 keeps.
pub(crate) trait Head {
    /// The fields.
    fn fields(&self) -> &HeaderMap;

    /// Puts a field in the place of all others of that name.
    fn put(&mut self, name: Bytes, value: HeaderValue);

    /// Adds a field to those of that name.
    fn append(&mut self, name: Bytes, value: HeaderValue);

    /// Removes all fields of that name.
    fn take(&mut self, name: &HeaderName);

    /// Removes all fields whose names are meant.
    fn take_where(&mut self, is_meant: impl Fn(&HeaderName) -> bool) {
        let names: SmallVec<[HeaderName; 4]> = self.fields().keys().filter(|name| is_meant(name)).cloned().collect();
        for name in &names {
            self.take(name);
        }
    }
}

macro_rules! head {
    ($type:ty) => {
        impl Head for $type {
            fn fields(&self) -> &HeaderMap {
                &self.headers
            }

            // Names were validated when they were compiled, so that neither call can fail for one; an append fails
            // beyond 32,768 fields, which no parser lets through.
            fn put(&mut self, name: Bytes, value: HeaderValue) {
                let _ = self.insert_header(name, value);
            }

            fn append(&mut self, name: Bytes, value: HeaderValue) {
                let _ = self.append_header(name, value);
            }

            fn take(&mut self, name: &HeaderName) {
                self.remove_header(name);
            }
        }
    };
}

head!(RequestHeader);
head!(ResponseHeader);

/// A name known when maitred was built, as it shall be written.
pub(crate) const fn name(written: &'static str) -> Bytes {
    Bytes::from_static(written.as_bytes())
}

/// The comma-separated members of all fields called `name` (RFC 9110 section 5.6.1), without empty ones.
pub(crate) fn members<'h>(
    fields: &'h HeaderMap,
    name: &HeaderName,
) -> impl DoubleEndedIterator<Item = &'h [u8]> + use<'h> {
    let lines = fields.get_all(name).into_iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}
