//! When a second backend is asked as well, as written.

use schemars::JsonSchema;
use serde::Deserialize;

/// When another backend is asked as well.
#[derive(Debug, Clone, Default)]
pub struct Hedge {
    /// How long the first is waited for.
    pub after: Option<String>,
    /// How many more are asked.
    pub max: Option<u32>,
    /// How many of the requests under way may be such.
    pub budget: Option<String>,
    /// Whether it is written as a table.
    pub(crate) is_table: bool,
}

/// When another backend is asked as well: the first that begins its answer has answered, and the others are told that they
/// need not any more.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "hedge")]
pub struct HedgeTable {
    /// How long a backend is waited for before: a duration, or as long as a share of the upstream's answers of late took:
    /// `"p50"`, `"p75"`, `"p90"`, `"p95"` or `"p99"`. While fewer than 50 answers have come in the last seconds, that is not
    /// known, and nobody is asked twice. Default `"p95"`.
    ///
    /// Example: `after = "100ms"`
    pub after: Option<String>,

    /// How many more backends are asked, one after the other, 1 to 3. Default 1.
    ///
    /// Example: `max = 1`
    #[schemars(range(min = 1, max = 3))]
    pub max: Option<u32>,

    /// How many of the upstream's requests under way may be such second ones; one is always allowed. Default `"10%"`. `"100%"`:
    /// any number.
    ///
    /// Example: `budget = "5%"`
    pub budget: Option<String>,
}

impl Hedge {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { after: Some(text.to_owned()), ..Self::default() })
    }
}

impl From<HedgeTable> for Hedge {
    fn from(HedgeTable { after, max, budget }: HedgeTable) -> Self {
        Self { after, max, budget, is_table: true }
    }
}

document::shorthand!(Hedge, HedgeTable, "how long to wait, such as `\"p95\"`, or a table", str = Hedge::from_text);
