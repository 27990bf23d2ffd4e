//! A limit that follows what an upstream can do, as written.

use schemars::JsonSchema;
use serde::Deserialize;

/// How many requests an upstream may have at a time, found out from how long its answers take.
#[derive(Debug, Clone, Default)]
pub struct AdaptiveConcurrency {
    /// The least that the limit may be.
    pub min: Option<u32>,
    /// The most.
    pub max: Option<u32>,
    /// How much longer than at best answers may take.
    pub tolerance: Option<String>,
    /// Whether it is written as a table.
    pub(crate) is_table: bool,
}

/// How many requests an upstream may have at a time, found out from how long its answers take: the limit grows while they
/// come about as fast as they have at best in the last minute, and shrinks when they do not.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "adaptive concurrency")]
pub struct AdaptiveConcurrencyTable {
    /// The least that the limit may be. Default 5.
    ///
    /// Example: `min = 10`
    #[schemars(range(min = 1))]
    pub min: Option<u32>,

    /// The most that it may be. Default 1000. It begins with 20.
    ///
    /// Example: `max = 200`
    #[schemars(range(min = 1))]
    pub max: Option<u32>,

    /// How much longer than at best half of the answers may take before there are too many. Default `"50%"`.
    ///
    /// Example: `tolerance = "100%"`
    pub tolerance: Option<String>,
}

impl AdaptiveConcurrency {
    fn from_bool(on: bool) -> Result<Self, String> {
        if on { Ok(Self::default()) } else { Err("leave it out instead of `false`".into()) }
    }
}

impl From<AdaptiveConcurrencyTable> for AdaptiveConcurrency {
    fn from(AdaptiveConcurrencyTable { min, max, tolerance }: AdaptiveConcurrencyTable) -> Self {
        Self { min, max, tolerance, is_table: true }
    }
}

document::shorthand!(
    AdaptiveConcurrency,
    AdaptiveConcurrencyTable,
    "`true` or a table",
    bool = AdaptiveConcurrency::from_bool
);
