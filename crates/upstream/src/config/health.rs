//! When a backend is used and when it is not, as written.

use document::{Duration, OneOrMany};
use schemars::JsonSchema;
use serde::Deserialize;

/// How backends are asked whether they are well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: Option<String>,
    /// The path that is asked for.
    pub path: Option<String>,
    /// The `Host` of the question.
    pub host: Option<String>,
    /// Which answers are good.
    pub status: Option<OneOrMany<String>>,
    /// What the answer must contain.
    pub body: Option<String>,
    /// The gRPC service that is asked after.
    pub service: Option<String>,
    /// How often.
    pub interval: Option<Duration>,
    /// How long an answer may take.
    pub timeout: Option<Duration>,
    /// How many good answers bring a backend back.
    pub healthy: Option<u32>,
    /// How many bad ones take it out.
    pub unhealthy: Option<u32>,
    /// Whether it is written as a table.
    pub(crate) is_table: bool,
}

/// How backends are asked whether they are well.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(title = "health check")]
pub struct HealthCheckTable {
    /// What is asked: `"http"`, a GET; `"tcp"`, a connection that is closed at once; `"grpc"`, the service
    /// `grpc.health.v1.Health`, for the schemes `h2` and `h2c`. Default `"http"`.
    ///
    /// Example: `type = "grpc"`
    #[serde(rename = "type")]
    pub kind: Option<String>,

    /// The path that is asked for. Required for `"http"`.
    ///
    /// Example: `path = "/health"`
    pub path: Option<String>,

    /// The `Host` of the question. Default: that of the backend's URL.
    ///
    /// Example: `host = "api.example.com"`
    pub host: Option<String>,

    /// Which answers are good: statuses and classes of them. Default `["2xx", "3xx"]`.
    ///
    /// Example: `status = "2xx"`
    pub status: Option<OneOrMany<String>>,

    /// What the answer must contain, within its first 64 KiB. Default: anything.
    ///
    /// Example: `body = "UP"`
    pub body: Option<String>,

    /// The gRPC service that is asked after. Default: the server as a whole.
    ///
    /// Example: `service = "shop.v1.Orders"`
    pub service: Option<String>,

    /// How often a backend is asked. Default `"5s"`. A backend that is down or about to change is asked once a second,
    /// where that is more often. Each pause is up to a tenth longer or shorter.
    ///
    /// Example: `interval = "5s"`
    pub interval: Option<Duration>,

    /// How long an answer may take, connecting included. Default `"2s"`.
    ///
    /// Example: `timeout = "2s"`
    pub timeout: Option<Duration>,

    /// How many good answers in a row bring a backend back. Default 2.
    ///
    /// Example: `healthy = 2`
    #[schemars(range(min = 1, max = 100))]
    pub healthy: Option<u32>,

    /// How many bad answers in a row take it out. Default 3.
    ///
    /// Example: `unhealthy = 3`
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy: Option<u32>,
}

/// When a backend is taken out of use that fails again and again.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(title = "outlier")]
pub struct Outlier {
    /// How many errors in a row take it out. Default 5.
    ///
    /// Example: `consecutive_errors = 5`
    #[schemars(range(min = 1))]
    pub consecutive_errors: Option<u32>,

    /// For how long; twice as long the second time, and so on, up to 5m. A backend that passes its `health_check`
    /// meanwhile is back at once. Default `"30s"`.
    ///
    /// Example: `eject_for = "30s"`
    pub eject_for: Option<Duration>,

    /// The largest share of the backends that may be out at a time. One may be, unless it is the only one. Default
    /// `"50%"`.
    ///
    /// Example: `max_ejected = "50%"`
    pub max_ejected: Option<String>,

    /// Compares the backends' shares of good answers as well, and takes out who gives far fewer than the others: a table.
    /// `false`: never. On by default.
    ///
    /// Example: `success_rate = { deviations = 1.9, requests = 100 }`
    pub success_rate: Option<document::Toggle<SuccessRate>>,
}

/// When a backend's share of good answers is too low. The same failures count as in a row; a backend that answers 95 of 100
/// requests well is left alone.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(title = "success rate")]
pub struct SuccessRate {
    /// How far below the mean of all backends it has to be, in standard deviations. Default 1.9.
    ///
    /// Example: `deviations = 1.9`
    pub deviations: Option<f32>,

    /// How many requests a backend must have had within an interval to be compared. Default 100.
    ///
    /// Example: `requests = 100`
    #[schemars(range(min = 1))]
    pub requests: Option<u32>,

    /// How many backends must have had as many. Default 5.
    ///
    /// Example: `backends = 5`
    #[schemars(range(min = 1))]
    pub backends: Option<u32>,

    /// How often they are compared. Default `"10s"`.
    ///
    /// Example: `interval = "10s"`
    pub interval: Option<Duration>,
}

/// When a backend is sent nothing for a while.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "circuit breaker")]
pub struct CircuitBreaker {
    /// How many failures open the breaker. Default 5.
    ///
    /// Example: `failures = 5`
    #[schemars(range(min = 1))]
    pub failures: Option<u32>,

    /// Within which time. Default `"10s"`.
    ///
    /// Example: `within = "10s"`
    pub within: Option<Duration>,

    /// How long it stays open; then one request is let through, whose answer decides. Default `"30s"`.
    ///
    /// Example: `open_for = "30s"`
    pub open_for: Option<Duration>,
}

impl HealthCheck {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(match text {
            "tcp" | "grpc" => Self { kind: Some(text.into()), ..Self::default() },
            path if path.starts_with('/') => Self { path: Some(path.into()), ..Self::default() },
            _ => {
                return Err(format!(
                    "expected \"tcp\", \"grpc\", a path such as \"/health\" or a table, found {text:?}"
                ));
            }
        })
    }
}

impl From<HealthCheckTable> for HealthCheck {
    fn from(table: HealthCheckTable) -> Self {
        let HealthCheckTable { kind, path, host, status, body, service, interval, timeout, healthy, unhealthy } = table;
        Self { kind, path, host, status, body, service, interval, timeout, healthy, unhealthy, is_table: true }
    }
}

document::shorthand!(
    HealthCheck,
    HealthCheckTable,
    "\"tcp\", \"grpc\", a path or a table",
    str = HealthCheck::from_text
);
