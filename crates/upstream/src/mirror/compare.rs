//! What two answers to the same request have in common.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use serde_json::Value;

/// What is compared of two answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    headers: Box<[HeaderName]>,
    /// The tokens of each JSON pointer.
    ignore: Box<[Box<[Box<str>]>]>,
}

/// An answer, as far as it is compared.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its content without any coding; `None` where it is not known.
    pub content: Option<Bytes>,
}

impl Compare {
    pub(crate) fn new(headers: Box<[HeaderName]>, ignore: Box<[Box<[Box<str>]>]>) -> Self {
        Self { headers, ignore }
    }

    /// Where the `other` answer differs from the `first`, in a phrase that quotes neither; `None` where it does not. An
    /// error where that cannot be said, since the content of one is not known.
    pub fn difference(&self, first: &Answer, other: &Answer) -> Result<Option<String>, Unknown> {
        if first.status != other.status {
            return Ok(Some(format!("status {} became {}", first.status, other.status)));
        }
        for name in &self.headers {
            if !first.headers.get_all(name).iter().eq(other.headers.get_all(name)) {
                return Ok(Some(format!("the field {name}")));
            }
        }
        let (Some(ours), Some(theirs)) = (&first.content, &other.content) else { return Err(Unknown) };
        if ours == theirs {
            return Ok(None);
        }
        if !(is_json(&first.headers) && is_json(&other.headers)) {
            return Ok(Some(format!("the content: {} bytes became {}", ours.len(), theirs.len())));
        }
        match (serde_json::from_slice(ours), serde_json::from_slice(theirs)) {
            (Ok(ours), Ok(theirs)) => {
                let mut path = Vec::new();
                Ok(self.differs(&ours, &theirs, &mut path).then(|| format!("the content at {}", pointer(&path))))
            }
            _ => Ok(Some("the content, which is not JSON as its type says".into())),
        }
    }

    /// Whether the values differ at `path` or below, which is then where. Neither the order of members nor how a number
    /// is written matters (RFC 8259 sections 4 and 6).
    fn differs(&self, ours: &Value, theirs: &Value, path: &mut Vec<String>) -> bool {
        if self.is_ignored(path) {
            return false;
        }
        match (ours, theirs) {
            (Value::Object(ours), Value::Object(theirs)) => {
                let more = theirs.keys().filter(|key| !ours.contains_key(*key));
                ours.keys().chain(more).any(|key| {
                    let at = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
                    self.differs_below(key.clone(), at(ours), at(theirs), path)
                })
            }
            (Value::Array(ours), Value::Array(theirs)) => (0..ours.len().max(theirs.len())).any(|index| {
                let at = |list: &[Value]| list.get(index).cloned();
                self.differs_below(index.to_string(), at(ours), at(theirs), path)
            }),
            (Value::Number(ours), Value::Number(theirs)) => ours != theirs && ours.as_f64() != theirs.as_f64(),
            _ => ours != theirs,
        }
    }

    fn differs_below(&self, key: String, ours: Option<Value>, theirs: Option<Value>, path: &mut Vec<String>) -> bool {
        path.push(key);
        let differs = match (ours, theirs) {
            (Some(ours), Some(theirs)) => self.differs(&ours, &theirs, path),
            _ => !self.is_ignored(path),
        };
        if !differs {
            path.pop();
        }
        differs
    }

    fn is_ignored(&self, path: &[String]) -> bool {
        let matches = |pattern: &[Box<str>]| {
            pattern.len() == path.len()
                && pattern.iter().zip(path).all(|(token, key)| **token == *"*" || **token == **key)
        };
        self.ignore.iter().any(|pattern| matches(pattern))
    }
}

/// The content of an answer is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// RFC 8259, and RFC 6839 section 3.1.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// Cut to a length that a line of the log can have.
fn pointer(path: &[String]) -> String {
    let mut text = String::new();
    for key in path {
        text.push('/');
        text.extend(key.chars().filter(|one| !one.is_control()).take(40));
    }
    if text.is_empty() { "its root".into() } else { text.chars().take(200).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, kind: &'static str, content: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        Answer { status, headers, content: Some(Bytes::from_static(content.as_bytes())) }
    }

    fn difference(ignore: &[&str], ours: &'static str, theirs: &'static str) -> Option<String> {
        let tokens = |text: &&str| text[1..].split('/').map(Into::into).collect();
        let compare = Compare::new([header::CONTENT_TYPE].into(), ignore.iter().map(tokens).collect());
        let json = |text| answer(200, "application/json", text);
        compare.difference(&json(ours), &json(theirs)).unwrap()
    }

    #[test]
    fn json_is_the_same_however_it_is_written() {
        assert_eq!(difference(&[], r#"{"a":1,"b":[1,2]}"#, "{ \"b\": [1.0, 2], \"a\": 1 }"), None);
        assert_eq!(difference(&[], r#"{"a":{"b":[1,2]}}"#, r#"{"a":{"b":[1,3]}}"#).unwrap(), "the content at /a/b/1");
        assert_eq!(difference(&[], r#"[1]"#, r#"[1,2]"#).unwrap(), "the content at /1");
        assert_eq!(difference(&[], r#"{"a":1}"#, r#"{"a":1,"b":null}"#).unwrap(), "the content at /b");
        assert_eq!(difference(&[], "1", "2").unwrap(), "the content at its root");
        assert!(difference(&[], "{", "}").is_some());
    }

    #[test]
    fn what_does_not_matter_is_passed_over() {
        let (ours, theirs) = (r#"{"at":1,"items":[{"id":1,"n":2}]}"#, r#"{"items":[{"id":9,"n":2}]}"#);
        assert_eq!(difference(&["/at", "/items/*/id"], ours, theirs), None);
        assert_eq!(difference(&["/items/*/id"], ours, theirs).unwrap(), "the content at /at");
    }

    #[test]
    fn status_and_fields_come_before_the_content() {
        let compare = Compare::new([header::CONTENT_TYPE].into(), [].into());
        let (text, json) = (answer(200, "text/plain", "1"), answer(200, "application/json", "1"));
        assert_eq!(
            compare.difference(&text, &answer(500, "text/plain", "2")),
            Ok(Some("status 200 became 500".into()))
        );
        assert_eq!(compare.difference(&text, &json), Ok(Some("the field content-type".into())));
        assert_eq!(compare.difference(&text, &text), Ok(None));
        let unknown = Answer { content: None, ..text.clone() };
        assert_eq!(compare.difference(&text, &unknown), Err(Unknown));
        let said = compare.difference(&text, &answer(200, "text/plain", "22")).unwrap().unwrap();
        assert_eq!(said, "the content: 1 bytes became 2");
    }
}
