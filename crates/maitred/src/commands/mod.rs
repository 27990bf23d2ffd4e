//! The commands, one file each.

pub mod about;
pub mod audit;
pub mod backend;
pub mod check;
pub mod demo;
pub mod docs;
pub mod explain;
pub mod fmt;
pub mod hash;
pub mod init;
pub mod key;
pub mod log;
pub mod proxy;
pub mod purge;
pub mod reload;
pub mod run;
pub mod show;
pub mod status;
pub mod stop;
pub mod top;
pub mod upgrade;
pub mod warm;
