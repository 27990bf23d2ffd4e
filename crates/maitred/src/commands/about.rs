//! `maitred version`, `completions` and `man`: what the binary says of itself.

use std::{fs, path::Path};

use clap::CommandFactory;

use crate::{
    cli::{Cli, Global},
    exit::{Failure, Outcome},
    out,
};

/// The features that this binary was built with.
const FEATURES: &[&str] = if cfg!(feature = "cel") {
    &["http1", "http2", "tls-rustls", "allocator-mimalloc", "cel"]
} else {
    &["http1", "http2", "tls-rustls", "allocator-mimalloc"]
};

/// Prints the version.
pub fn version(global: &Global, features: bool) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    if global.json {
        return out::line(serde_json::json!({ "version": version, "features": FEATURES }).to_string());
    }
    let features: String = FEATURES.iter().filter(|_| features).map(|feature| format!("  {feature}\n")).collect();
    out::text(&format!("maitred {version}\n{features}"))
}

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "maitred", &mut script);
    out::text(&String::from_utf8_lossy(&script))
}

/// Prints `maitred.1`, or writes a page a command into `dir`.
pub fn man(dir: Option<&Path>) -> Outcome {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return out::text(&String::from_utf8_lossy(&page));
    };
    fs::create_dir_all(dir).map_err(|error| Failure::new(format!("cannot make {}: {error}", dir.display())))?;
    clap_mangen::generate_to(Cli::command(), dir)?;
    Ok(())
}
