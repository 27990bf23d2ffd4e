//! Rates: numbers of bytes a second, numbers of anything in a time.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::{Duration, Size, scalar::WithUnit};

/// A number of bytes a second: a size and `/s`, such as `"100B/s"` or `"1MiB/s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRate(pub u64);

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Size(self.0))
    }
}

impl FromStr for ByteRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = text.trim().strip_suffix("/s").and_then(|size| size.parse::<Size>().ok());
        let wrong = || format!("expected a rate such as \"100B/s\" or \"1KiB/s\", found {text:?}");
        size.map(|size| Self(size.0)).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for ByteRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WithUnit::new("a rate such as \"100B/s\""))
    }
}

impl JsonSchema for ByteRate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteRate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "rate", "pattern": "^[0-9]+([kKMGT]i?)?B/s$|[$][{]" })
    }
}

/// So many in a time: a number, a slash and a time, such as `"10/s"`, `"100/m"` or `"5/15m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub count: u64,
    /// In which time.
    pub per: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = self.per.to_string();
        // `1m` is written `m`; `1m30s` and `1d` after other digits are not touched.
        let bare = per.strip_prefix('1').filter(|unit| unit.bytes().all(|byte| byte.is_ascii_alphabetic()));
        write!(f, "{}/{}", self.count, bare.unwrap_or(&per))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a rate such as \"10/s\", \"100/m\" or \"5/15m\", found {text:?}");
        let (count, per) = text.trim().split_once('/').ok_or_else(wrong)?;
        let count = count.trim().parse().map_err(|_| wrong())?;
        let per = per.trim();
        let bare = per.starts_with(|first: char| first.is_ascii_alphabetic());
        let per: Duration = if bare { format!("1{per}").parse() } else { per.parse() }.map_err(|_| wrong())?;
        if per.0.is_zero() { Err(wrong()) } else { Ok(Self { count, per }) }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WithUnit::new("a rate such as \"10/s\""))
    }
}

impl JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "rate", "pattern": "^[0-9]+/([0-9]*(ms|s|m|h|d))+$|[$][{]" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_as_they_are_read() {
        for (text, bytes) in [("100B/s", 100), ("1KiB/s", 1024), ("2MiB/s", 2 << 20)] {
            let rate: ByteRate = text.parse().unwrap();
            assert_eq!((rate.0, rate.to_string().as_str()), (bytes, text));
        }
        for wrong in ["", "100", "100B", "100/s", "/s", "B/s", "100B/m", "-1B/s"] {
            assert!(wrong.parse::<ByteRate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_in_a_time_are_written_as_they_are_read() {
        for (text, count, seconds) in [("10/s", 10, 1), ("100/m", 100, 60), ("5/15m", 5, 900), ("1000/d", 1000, 86_400)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.count, rate.per, rate.to_string().as_str()), (count, Duration::seconds(seconds), text));
        }
        assert_eq!("7/1m".parse::<Rate>().unwrap().to_string(), "7/m");
        for wrong in ["", "10", "/s", "10/", "10/0s", "10/x", "-1/s", "10/s/s", "1.5/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
