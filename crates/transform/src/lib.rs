//! What each side should see.
//!
//! * [`hop`] removes what was meant for one connection only, and [`settle_request`] leaves one reading of the framing.
//! * [`Forwarding`] tells the origin who the client is; [`told`] reads what the proxies before us tell.
//! * [`RequestEdits`] and [`ResponseEdits`] are the route's own `set`, `add` and `remove`.
//! * [`SecurityHeaders`] tell browsers to be careful.
//! * [`Compress`] makes answers smaller for who asks for it, and [`Decompress`] unpacks requests for who cannot.
//!
//! A request is stripped first, so that a client can delete nothing that is added after it:
//!
//! ```
//! use filter::{Amend, Captures, Client, View};
//! use maitred_transform::{Forwarding, hop, settle_request};
//! use pingora_http::RequestHeader;
//!
//! let mut from = RequestHeader::build("GET", b"/", None)?;
//! from.insert_header("Host", "shop.test")?;
//! from.insert_header("Connection", "close, X-Forwarded-For")?;
//! let client = Client::local("public".into());
//! let captures = Captures::new();
//! let view = View { generation: 1, identity: None, head: &from, client: &client, host: "shop.test", path: "/", query: None, captures: &captures };
//!
//! let mut to = from.clone();
//! hop::strip_request(&mut to, &from);
//! settle_request(&mut to);
//! Forwarding::default().amend(&mut to, &view);
//! assert!(!to.headers.contains_key("connection"));
//! assert_eq!(to.headers["x-forwarded-host"], "shop.test");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compress;
mod decode;
mod decompress;
mod edits;
mod forwarding;
mod framing;
mod head;
pub mod hop;
mod line;
mod private;
mod security;
pub mod told;

pub use compress::{Algorithm, Compress, CompressConfig, CompressTable, Encoder};
pub use decode::decode;
pub use decompress::{Decoder, Decompress, DecompressConfig, DecompressTable, tell_unpacked};
pub use edits::{Fields, HeaderEdits, RequestEdits, ResponseConfig, ResponseEdits, Written};
pub use forwarding::{CLAIMS, Forwarding, OVERRIDES, TOLD, is_claim};
pub use framing::{is_framing_known, settle_request, settle_response};
pub use private::make_private;
pub use security::{
    Embedder, Frame, HstsConfig, HstsTable, Opener, Referrer, Resource, SecurityConfig, SecurityHeaders, SecurityTable,
};
pub use told::client_address;
