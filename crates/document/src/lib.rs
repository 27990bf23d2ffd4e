//! How configuration is written.
//!
//! A [`Document`] is one or more TOML files read into one tree, where every value remembers its place. Values have
//! units ([`Duration`], [`Size`]), short forms ([`OneOrMany`], [`shorthand!`]) and secrets ([`Secret`]). Every mistake
//! goes into one [`Report`], which points at the line, in the manner of rustc.
//!
//! This crate knows no key of the configuration: those belong to the concerns.

mod at;
mod code;
mod decode;
mod document;
mod followed;
mod interpolate;
mod json;
mod rate;
mod render;
mod report;
mod scalar;
mod shorthand;
mod source;
mod syntax;
pub mod tree;

pub use at::{At, Part};
pub use code::Code;
pub use decode::Vocabulary;
pub use document::{Document, Location};
pub use followed::{Change, Changed, Followed, Followers, Read, guard};
pub use interpolate::Environment;
pub use rate::{ByteRate, Rate};
pub use report::{Diagnostic, Label, Level, Patch, Place, Report, nearest};
pub use scalar::{Duration, OneOrMany, Secret, Size, Span, Toggle};
pub use source::Position;

/// What [`shorthand!`] expands to names its crates through here.
#[doc(hidden)]
pub mod macros {
    pub use schemars;
    pub use serde;
    pub use serde_json;
}
