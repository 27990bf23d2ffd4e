//! What the criterion benches share.
