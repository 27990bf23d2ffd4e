//! What each side should see: forwarding headers, edits, security headers.

mod framing;
mod head;
pub mod hop;

pub use framing::{settle_request, settle_response};
