//! The admin listener: health, readiness, metrics, status.
//!
//! It answers on addresses of its own, never on those of the data plane: loopback and unix sockets freely, addresses
//! that other machines can reach only with a token. A browser is kept from reaching it through a name that somebody
//! else controls (DNS rebinding), and from writing for another site.
//!
//! Life of it: [`compile`] checks `[admin]`, [`bind`] opens the sockets, and one in the [`run_folder`], before the process
//! says that it started, [`serve`] answers until it is told to stop, which is after the last request has drained:
//! `/ready` must be able to say that the server drains.

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
mod rates;
mod serve;
mod status;
mod who;

pub use admin::{Admin, Phase};
pub use audit::AuditFile;
pub use bind::{BindError, Shared, Socket, bind, run_folder, run_folders};
pub use compile::{Address, Settings, compile};
pub use control::{
    Checked, Control, Explain, Generation, Outcome, Reload as ReloadOrder, Reloaded, Seconds, Source,
    Upgrade as UpgradeOrder, Upgraded,
};
pub use events::{Event, Events};
pub use level::Levels;
pub use rates::Rates;
pub use serve::serve;
pub use status::{Backend, Listener, Reload, Status, Upstream};
pub use who::{Act, Who};
