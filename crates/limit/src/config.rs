//! Limits, as written.

use std::collections::BTreeMap;

use document::{ByteRate, Duration, Rate, Size, Span};
use filter::Mode;
use schemars::JsonSchema;
use serde::Deserialize;

/// A limit: what is counted, by what, and what happens beyond it.
///
/// It counts in one of four ways: `requests` in a `window`, exactly, whatever way they are spread; a steady `rate` with a
/// `burst`; how many are under way at once, `concurrent`; or the bytes of their content, `bandwidth`. A limit that is named in `[limits]` counts all routes that use
/// it together; one that is written in a route counts that route alone.
///
/// ```toml
/// [limits.fair-use]
/// requests = 100
/// window   = "1m"
/// key      = "ip"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "limit")]
pub struct Config {
    /// How many requests may pass in any window of time: the next one is refused, and each makes room again when its
    /// window is over. Exact for limits up to 512; beyond that a request may count for up to a 512th of the window longer.
    /// With `window`. At most 16 million.
    ///
    /// Example: `requests = 100`
    #[schemars(range(min = 1))]
    pub requests: Option<u64>,
    /// The window of `requests`. With `align = "calendar"` it may be a month, `"1mo"`.
    ///
    /// Example: `window = "1m"`
    pub window: Option<Span>,
    /// Whether the window slides, which is the default, or is one of the calendar: with `"calendar"`, `window = "1d"` is the
    /// day of UTC, `"1h"` the hour, `"7d"` the week from Monday, `"1mo"` the month; it divides a day, or is a week or a month. Such a quota is written down
    /// and goes on where it was when maitred is started again.
    ///
    /// Example: `align = "calendar"`
    pub align: Option<Align>,
    /// A steady rate (token bucket): requests come back one by one, at this rate.
    ///
    /// Example: `rate = "10/s"`
    pub rate: Option<Rate>,
    /// How many may come at once. With `rate`: how many the bucket holds, by default as many as the rate's number. With
    /// `requests`: besides the window, no more than so many at once, and from then on they come back spread evenly over it.
    ///
    /// Example: `burst = 20`
    #[schemars(range(min = 1))]
    pub burst: Option<u64>,
    /// How many requests may be under way at once.
    ///
    /// Example: `concurrent = 20`
    #[schemars(range(min = 1))]
    pub concurrent: Option<u64>,
    /// How fast content may pass: what is too fast is held back, and nothing is lost. All requests that share the key share
    /// it, and take turns. Headers do not count, nor does what a cache fetches for everybody, except for `key = "upstream"`.
    ///
    /// Example: `bandwidth = "1MiB/s"`
    pub bandwidth: Option<Bandwidth>,
    /// Whether `requests` are counted by an estimate, which takes 8 MiB for this limit whoever comes. It is for abuse by
    /// millions of addresses, not for what a contract says: a client may be counted too high, by about one request for each
    /// 96,000 that all clients send in a window, and of the window before counts a part as if it had been spread evenly.
    /// Default `false`: exactly, for about a million clients at once.
    ///
    /// Example: `estimate = true`
    pub estimate: Option<bool>,
    /// What is counted by: `"ip"`, the client's address, of which an IPv6 one counts by its /64; `"user"`, `"api_key"` and
    /// `"claim:NAME"`, what authentication has found out; `"header:NAME"` and `"cookie:NAME"`, what the client says;
    /// `"route"`, all clients together; `"upstream"`, every attempt to send a request there, whatever the route. Default
    /// `"ip"`.
    ///
    /// Example: `key = "user"`
    pub key: Option<String>,
    /// What callers of a plan may in the place of what others may, by the plan's name: a number where the limit has `requests` or
    /// `concurrent`, a rate where it has `rate`, or a table that says the `burst` as well; without it a burst grows as the rest does. The plan is what the file of API
    /// keys or of users says of a caller (`plan = "pro"`), or the claim that `plan` of `[auth]` names; who has another one or none may what
    /// the limit says itself, and who has an amount of its own in such a file (`limits = { calls = 5000 }`) may that. With a `key` that
    /// says who calls: `"user"`, `"api_key"` or `"claim:NAME"`.
    ///
    /// Example: `plans = { pro = 1000, partner = 5000 }`
    pub plans: Option<BTreeMap<String, Amount>>,
    /// What becomes of a request that has no such user, header, cookie or claim. Default `"ip"`.
    ///
    /// Example: `on_missing = "deny"`
    pub on_missing: Option<OnMissing>,
    /// How much one request counts. Default 1.
    ///
    /// Example: `cost = 5`
    #[schemars(range(min = 1))]
    pub cost: Option<u64>,
    /// Which requests count. With `"failures"` a request counts while it is under way, and is forgiven when its answer has a
    /// status below 400. Default `"all"`.
    ///
    /// Example: `count = "failures"`
    pub count: Option<Count>,
    /// What happens beyond a `rate`, or to a request for which no place of `concurrent` is free. Default `"refuse"`.
    ///
    /// Example: `over = "delay"`
    pub over: Option<Over>,
    /// How long a request may be held back with `over = "delay"`; one that would have to wait longer is refused. At most
    /// `"30s"`. Default `"1s"`.
    ///
    /// Example: `max_delay = "2s"`
    pub max_delay: Option<Duration>,
    /// How many requests may wait for a place of `concurrent` with `over = "delay"`. When there are more, the newest request of the
    /// consumer that wants most is refused. From 1 to 4096. Default: as many as `concurrent`, at most 1024.
    ///
    /// Example: `max_waiting = 200`
    #[schemars(range(min = 1, max = 4096))]
    pub max_waiting: Option<u64>,
    /// Whom the places of `concurrent` are shared by with `over = "delay"`: one that becomes free goes to the consumer that has the
    /// fewest. Written as `key` is; a request that does not have it counts by its address. Default `"ip"`.
    ///
    /// Example: `fair_by = "api_key"`
    pub fair_by: Option<String>,
    /// Bans who is refused again and again: for a while nothing of it passes this limit. Each process bans by itself.
    ///
    /// Example: `ban = { after = 20, within = "1m", for = "1h" }`
    pub ban: Option<Ban>,
    /// Whether the limit is obeyed. In `"shadow"` what would have been refused passes, and is counted and logged. Default
    /// `"enforce"`.
    ///
    /// Example: `mode = "shadow"`
    pub mode: Option<Mode>,
    /// Where it is counted. With `"redis"` all processes that have the same `[redis]` count together, by the clock of Redis;
    /// a limit of its own for a route counts with those of the same route name. Not for `concurrent`. Default `"memory"`.
    ///
    /// Example: `store = "redis"`
    pub store: Option<Place>,
    /// How many requests a process takes from Redis at once, at most, for a key that is asked for often, so that Redis is asked
    /// once for so many. In any window each process may let pass up to so many more than the limit; what it has taken and
    /// not used is not there for others. A key that is asked for seldom is asked for one by one. Default: always one by one.
    ///
    /// Example: `lease = 50`
    #[schemars(range(min = 2))]
    pub lease: Option<u64>,
    /// What happens while Redis is away or does not answer in time. Default `"local"`.
    ///
    /// Example: `when_store_is_down = "deny"`
    pub when_store_is_down: Option<WhenDown>,
    /// When answers tell the client where it stands, in `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-
    /// headers-11). `Retry-After` is always sent with a refusal. Default `"always"`.
    ///
    /// Example: `headers = "when_limited"`
    pub headers: Option<Headers>,
    /// Whether answers also carry `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`, the last one in
    /// seconds from now. Default `false`.
    ///
    /// Example: `x_headers = true`
    pub x_headers: Option<bool>,
}

/// What becomes of a request without the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// It counts by the client's address.
    #[default]
    Ip,
    /// It is refused.
    Deny,
    /// This limit does not concern it.
    Skip,
}

/// Which requests count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// Every one.
    #[default]
    All,
    /// Those that fail.
    Failures,
}

/// What happens beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The request is refused with 429.
    #[default]
    Refuse,
    /// The request waits until its turn comes.
    Delay,
}

/// When a client is banned, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(title = "ban")]
pub struct Ban {
    /// After how many refusals.
    ///
    /// Example: `after = 20`
    #[schemars(range(min = 1))]
    pub after: Option<u64>,
    /// Within which time these are counted. Default `"1m"`.
    ///
    /// Example: `within = "10m"`
    pub within: Option<Duration>,
    /// For how long. Refusals meanwhile do not make it longer.
    ///
    /// Example: `for = "1h"`
    pub r#for: Option<Duration>,
}

/// How fast content may pass. Written as a rate alone, which is for each way, or as a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bandwidth {
    pub(crate) down: Option<ByteRate>,
    pub(crate) up: Option<ByteRate>,
    pub(crate) burst: Option<Size>,
}

/// How fast content may pass.
///
/// ```toml
/// [limits.trial]
/// bandwidth = { down = "1MiB/s", up = "256KiB/s", burst = "4MiB" }
/// key       = "user"
/// ```
#[derive(Deserialize, JsonSchema)]
#[schemars(title = "bandwidth")]
pub(crate) struct BandwidthTable {
    /// To clients: the content of answers, as it is sent. From `"1KiB/s"` to `"64GiB/s"`.
    ///
    /// Example: `down = "1MiB/s"`
    down: Option<ByteRate>,
    /// From clients: the content of requests, as it goes on.
    ///
    /// Example: `up = "256KiB/s"`
    up: Option<ByteRate>,
    /// How much may pass at once, each way, before the rate is kept. Default: a quarter of a second's worth, at least
    /// `"4KiB"`.
    ///
    /// Example: `burst = "1MiB"`
    burst: Option<Size>,
}

impl From<BandwidthTable> for Bandwidth {
    fn from(BandwidthTable { down, up, burst }: BandwidthTable) -> Self {
        Self { down, up, burst }
    }
}

document::shorthand!(Bandwidth, BandwidthTable, "a rate such as \"1MiB/s\" or a table", str = Bandwidth::from_text);

impl Bandwidth {
    fn from_text(text: &str) -> Result<Self, String> {
        let rate = text.parse()?;
        Ok(Self { down: Some(rate), up: Some(rate), burst: None })
    }
}

/// How much callers of a plan may. Written as a number or a rate alone, or as a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Of whatever the limit counts.
    pub(crate) number: Option<u64>,
    pub(crate) requests: Option<u64>,
    pub(crate) rate: Option<Rate>,
    pub(crate) concurrent: Option<u64>,
    pub(crate) burst: Option<u64>,
}

/// How much callers of a plan may: one of `requests`, `rate` and `concurrent`, as the limit has it.
#[derive(Deserialize, JsonSchema)]
#[schemars(title = "plan")]
pub(crate) struct AmountTable {
    /// How many requests may pass in the limit's window.
    ///
    /// Example: `requests = 1000`
    #[schemars(range(min = 1))]
    requests: Option<u64>,
    /// The steady rate.
    ///
    /// Example: `rate = "50/s"`
    rate: Option<Rate>,
    /// How many requests may be under way at once.
    ///
    /// Example: `concurrent = 50`
    #[schemars(range(min = 1))]
    concurrent: Option<u64>,
    /// How many may come at once. Default: the limit's `burst`, larger by as much as the rest is.
    ///
    /// Example: `burst = 100`
    #[schemars(range(min = 1))]
    burst: Option<u64>,
}

impl From<AmountTable> for Amount {
    fn from(AmountTable { requests, rate, concurrent, burst }: AmountTable) -> Self {
        Self { number: None, requests, rate, concurrent, burst }
    }
}

document::shorthand!(
    Amount,
    AmountTable,
    "a number, a rate such as \"50/s\" or a table",
    str = Amount::from_text,
    int = Amount::from_number,
);

impl Amount {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { rate: Some(text.parse()?), ..Self::default() })
    }

    fn from_number(number: i64) -> Result<Self, String> {
        match u64::try_from(number) {
            Ok(number) => Ok(Self { number: Some(number), ..Self::default() }),
            Err(_) => Err(format!("expected a number of requests, found {number}")),
        }
    }
}

/// What a window is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// The time of each request.
    #[default]
    Sliding,
    /// The calendar of UTC.
    Calendar,
}

/// Where a limit is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In this process.
    #[default]
    Memory,
    /// In Redis.
    Redis,
}

/// What happens while the store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenDown {
    /// Each process counts by itself, with what it has seen before.
    #[default]
    Local,
    /// Requests pass uncounted.
    Allow,
    /// Requests are refused with 503.
    Deny,
}

/// When answers tell where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Headers {
    /// In every answer.
    #[default]
    Always,
    /// In refusals.
    WhenLimited,
    /// Not at all.
    Never,
}

/// A limit as a route writes it: by name, in short, or in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// One of `[limits]`.
    Named(String),
    /// One of its own.
    Own(Box<Config>),
}

impl Default for Written {
    fn default() -> Self {
        Self::Own(Box::default())
    }
}

impl From<Config> for Written {
    fn from(config: Config) -> Self {
        Self::Own(Box::new(config))
    }
}

document::shorthand!(
    Written,
    Config,
    "the name of a limit, a rate such as \"100/m per ip\", `true` or a table",
    str = Written::from_text,
    bool = Written::from_bool,
);

impl Written {
    /// `"100/m per ip"`, or a name. A name has no slash.
    fn from_text(text: &str) -> Result<Self, String> {
        if !text.contains(['/', ' ']) {
            return Ok(Self::Named(text.into()));
        }
        let wrong = |_| format!("expected the name of a limit or a rate such as \"100/m per ip\", found {text:?}");
        let (rate, key) =
            text.split_once(" per ").map_or((text, None), |(rate, key)| (rate, Some(key.trim().to_owned())));
        let rate: Rate = rate.parse().map_err(wrong)?;
        Ok(Config { requests: Some(rate.count), window: Some(Span::Time(rate.per)), key, ..Config::default() }.into())
    }

    /// What guides to API gateways have for a start: a hundred in fifteen minutes.
    fn from_bool(on: bool) -> Result<Self, String> {
        match on {
            true => {
                let window = Some(Span::Time(Duration::seconds(15 * 60)));
                Ok(Config { requests: Some(100), window, ..Config::default() }.into())
            }
            false => Err("expected a limit, found `false`".into()),
        }
    }
}
