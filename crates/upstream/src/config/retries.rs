//! When a request is tried again, as written.

use document::{Duration, OneOrMany};
use schemars::JsonSchema;
use serde::Deserialize;

/// When and how often a request is tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retries {
    /// How often.
    pub attempts: Option<u32>,
    /// What is worth another try.
    pub on: Option<OneOrMany<String>>,
    /// How many of the requests under way may be retries.
    pub budget: Option<String>,
    /// How long to wait at most before the first retry.
    pub backoff: Option<Duration>,
    /// Whether it is written as a table.
    pub(crate) is_table: bool,
}

/// When and how often a request is tried again.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(title = "retries")]
pub struct RetriesTable {
    /// How often a request is tried again, 0 to 10. Default 1. The number alone, `retries = 2`, says the same.
    ///
    /// Example: `attempts = 3`
    #[schemars(range(max = 10))]
    pub attempts: Option<u32>,

    /// What is worth another try. Default `["connect", "reset"]`.
    ///
    /// - `"connect"`: no connection could be made. Nothing was sent, so requests of any method are tried again. So is
    ///   what a backend of HTTP/2 refuses unprocessed (`REFUSED_STREAM`, or a GOAWAY without an error).
    /// - `"reset"`: the backend closed or reset the connection, or answered nonsense, before an answer had begun.
    /// - `"timeout"`: it did not begin to answer within `timeout`.
    /// - a status such as `"503"`: it answered so. `Retry-After` is waited for up to 30 seconds, where the route's
    ///   `timeout` leaves the time; otherwise the client gets that answer. The last answer is the client's, whatever
    ///   its status.
    /// - `"unavailable"`, `"cancelled"`, `"deadline-exceeded"`, `"resource-exhausted"`, `"internal"`: a gRPC service
    ///   answered so without sending a message. gRPC has one method, POST, for whatever it calls: saying this says that
    ///   its calls may be repeated.
    ///
    /// Example: `on = ["connect", "reset", "502", "503", "504"]`
    pub on: Option<OneOrMany<String>>,

    /// How many of the requests under way may be retries, so that a failing service is not flooded; three are always
    /// allowed. Retries of connections that could not be made do not count. Default `"20%"`. `"100%"`: any number.
    ///
    /// Example: `budget = "20%"`
    pub budget: Option<String>,

    /// How long to wait at most before the first retry; before the next ones three and seven times as long, up to ten.
    /// The time is drawn by lot. Nobody waits where no connection could be made. Default `"25ms"`.
    ///
    /// Example: `backoff = "25ms"`
    pub backoff: Option<Duration>,
}

impl Retries {
    fn from_number(number: i64) -> Result<Self, String> {
        let attempts = u32::try_from(number).map_err(|_| "`retries` is a number from 0 to 10".to_owned())?;
        Ok(Self { attempts: Some(attempts), ..Self::default() })
    }
}

impl From<RetriesTable> for Retries {
    fn from(RetriesTable { attempts, on, budget, backoff }: RetriesTable) -> Self {
        Self { attempts, on, budget, backoff, is_table: true }
    }
}

document::shorthand!(Retries, RetriesTable, "a number of retries or a table", int = Retries::from_number);
