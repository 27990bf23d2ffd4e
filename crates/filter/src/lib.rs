//! What a concern says at run time.
//!
//! A concern sees a request through a [`View`] and nothing else: the head, the client, the normalised target. It
//! answers through one of three traits: [`Admit`] (may this request pass?), [`Amend`] (change this head, or have it
//! [`Trail`] lines behind it) and [`Inspect`] (watch this body). A refusal is a [`Reply`], whose [`Reason`] is the one
//! word that the log, the metric and the problem document share.
//!
//! This crate is vocabulary: it knows no concern, no configuration and no socket.

mod admit;
mod amounts;
mod by_name;
mod captures;
mod client;
pub mod cookies;
mod identity;
mod mode;
pub mod networks;
pub mod query;
mod reason;
mod reply;
mod short;
mod spelling;
pub mod template;
mod trace;
mod view;

pub use admit::{Admit, Amend, Inspect, Trail, write_line};
pub use amounts::Amounts;
pub use captures::Captures;
pub use client::{AlternativeName, Client, ClientCertificate, RequestId, Scheme, TlsFacts};
pub use identity::{Claim, Claims, Credential, Identity};
pub use mode::Mode;
pub use reason::Reason;
pub use reply::{Body, Reply};
pub use short::Short;
pub use spelling::{spell, spelled};
pub use template::Template;
pub use trace::{Hex, Trace};
pub use view::{View, authority_of};
