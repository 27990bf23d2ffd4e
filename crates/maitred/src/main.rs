//! maitred — every request to the right table: the binary. Commands, signals, bootstrap.

mod asked;
mod banner;
mod cli;
mod client;
mod commands;
mod exit;
mod explained;
mod files;
mod history;
mod keys;
mod lifecycle;
mod limits;
mod logging;
mod notify;
mod out;
mod prepare;
mod sealed;
mod selftest;
mod server;
mod style;
mod trials;
mod upgrade;
mod verdict;
mod words;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

/// Chosen by figures: see docs/adr/0008-the-release-build.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all, because whoever comes later (Pingora asks for ring) finds the provider taken.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Cli { command, global } = Cli::parse();
    let outcome = match &command {
        Command::Init(init) => commands::init::run(&global, init),
        Command::Demo(demo) => commands::demo::run(&global, demo),
        Command::Proxy(proxy) => commands::proxy::run(&global, proxy),
        Command::Run(run) => commands::run::run(&global, run),
        Command::Check(check) => commands::check::run(&global, check),
        Command::Fmt(fmt) => commands::fmt::run(&global, fmt),
        Command::Explain(explain) => commands::explain::run(&global, explain),
        Command::Reload(reload) => commands::reload::reload(&global, reload),
        Command::Confirm => commands::reload::confirm(&global),
        Command::Rollback { id } => commands::reload::rollback(&global, *id),
        Command::History => commands::reload::history(&global),
        Command::Upgrade(upgrade) => commands::upgrade::run(&global, upgrade),
        Command::Drain { undo } => commands::stop::drain(&global, *undo),
        Command::Backend(backend) => commands::backend::run(&global, backend),
        Command::Stop { now } => commands::stop::stop(&global, *now),
        Command::Status => commands::status::run(&global),
        Command::Show(show) => commands::show::run(&global, show),
        Command::Top => commands::top::run(&global),
        Command::Purge(purge) => commands::purge::run(&global, purge),
        Command::Warm(warm) => commands::warm::run(&global, warm),
        Command::Audit(cli::Audit::Verify(verify)) => commands::audit::verify(&global, verify),
        Command::Log(cli::Log::Level(level)) => commands::log::level(&global, level),
        Command::Log(cli::Log::Follow(follow)) => commands::log::follow(&global, follow),
        Command::Hash => commands::hash::run(),
        Command::Key(cli::Key::Add(add)) => commands::key::add(&global, add),
        Command::Key(cli::Key::List(list)) => commands::key::list(&global, list),
        Command::Key(cli::Key::Revoke(revoke)) => commands::key::revoke(&global, revoke),
        Command::Selftest(cli::Selftest::Reload(options)) => selftest::reload(&global, options),
        Command::Schema => out::text(&commands::docs::schema()),
        Command::Completions { shell } => commands::about::completions(*shell),
        Command::Man { dir } => commands::about::man(dir.as_deref()),
        Command::Version { features } => commands::about::version(&global, *features),
        Command::InternalDocs { dir } => commands::docs::write(dir),
    };
    exit::code(outcome, style::Style::of(global.color, &std::io::stderr()))
}
