//! The commands, one file each.

pub mod about;
pub mod check;
pub mod demo;
pub mod docs;
pub mod explain;
pub mod fmt;
pub mod init;
pub mod proxy;
pub mod run;
