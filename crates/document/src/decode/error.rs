//! What serde complains about, kept apart by kind, with the path where it happened.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::scalar::MISSING_UNIT;

/// One complaint.
#[derive(Debug)]
pub(super) struct Error {
    /// From the value that is decoded down to the one at fault; `None` until it is known.
    pub path: Option<Vec<String>>,
    pub kind: Kind,
}

/// What kind of complaint it is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Another type was expected.
    Type { expected: String },
    /// The type is right and the value is not.
    Range { expected: String },
    /// A bare number where a unit belongs.
    Unit { expected: String },
    /// Not one of the words that the key knows.
    Word { found: String, known: &'static [&'static str] },
    /// A key that cannot be absent.
    Missing { key: &'static str },
    /// Anything else, in the words of the type.
    Other { message: String },
}

impl Error {
    fn new(kind: Kind) -> Self {
        Self { path: None, kind }
    }

    /// The same, at `path` unless it happened further down.
    pub fn at(mut self, path: &[String]) -> Self {
        self.path.get_or_insert_with(|| path.to_vec());
        self
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        Self::new(match message.strip_prefix(MISSING_UNIT) {
            Some(expected) => Kind::Unit { expected: expected.into() },
            None => Kind::Other { message },
        })
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Kind::Type { expected: humane(&expected.to_string()) })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Kind::Range { expected: humane(&expected.to_string()) })
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(Kind::Other { message: format!("expected {expected}, found {length} elements") })
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::Word { found: found.into(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Kind::Missing { key })
    }
}

/// What serde's derives expect, in the words of somebody who writes TOML.
fn humane(expected: &str) -> String {
    let words = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" | "u128" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" | "i128" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a map" => "a table",
        "a sequence" => "a list",
        _ if expected.starts_with("struct ") => "a table",
        _ if expected.starts_with("enum ") || expected.contains("variant") => "a string",
        other => other,
    };
    words.into()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Error {}
