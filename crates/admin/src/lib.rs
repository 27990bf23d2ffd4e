//! The admin plane: what maitred says of itself, and what it can be told to do.
//!
//! It answers on addresses of its own, never on those of the data plane: loopback and unix sockets freely, addresses
//! that other machines can reach only with a token; and over TCP nothing is changed without one. A browser is kept from
//! reaching it through a name that somebody else controls (DNS rebinding), and from writing for another site.
//!
//! Life of it: [`compile`] checks `[admin]`, [`bind`] opens the sockets, and one in the [`run_folder`], before the process
//! says that it started, [`serve`] answers until it is told to stop, which is after the last request has drained:
//! `/ready` must be able to say that the server drains.
//!
//! One table of operations is what requests are routed by, and what the OpenAPI document and the manual's page are made
//! from. What changes something goes to the [`Control`] that the binary gave, in a task of its own, and is written down:
//! an event, a line of the process log, a line of the audit log.

mod admin;
mod answer;
mod audit;
mod bind;
mod call;
mod compile;
mod control;
mod events;
mod exchange;
mod follow;
mod guard;
mod level;
mod openapi;
mod operations;
mod page;
mod rates;
mod serve;
mod status;
mod who;

pub use admin::{Admin, OrdersHeld, Phase};
pub use bind::{BindError, Shared, Socket, bind, run_folder, run_folders};
pub use compile::{Address, Settings, compile};
pub use control::{
    BackendOrder, BackendState, CacheReading, CacheTier, Checked, Control, Explain, Generation, Outcome, Purge, Purged,
    Reload as ReloadOrder, Reloaded, Sealed, Seconds, Source, Upgrade as UpgradeOrder, Upgraded, Warm, WarmOutcome,
    Warmed, WarmedUrl,
};
pub use events::{Event, Events};
pub use level::{Levels, OrderedLevel};
pub use operations::{
    ApiKey, Bucket, FreshKey, KeyOrder, Latency, Limit, LimitKey, LimitRule, Limited, NoKey, Route,
    Upstream as UpstreamTraffic, UpstreamBackend,
};
pub use page::admin_api_page;
pub use rates::Rates;
pub use serve::serve;
pub use status::{Backend, Certificate, LimitReading, Listener, Redis, Reload, Status, Upstream};
pub use who::{Act, Who};
