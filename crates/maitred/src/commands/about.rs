//! `maitred version`, `completions` and `man`: what the binary says of itself.

use std::{fs, io, path::Path};

use clap::CommandFactory;

use crate::{
    cli::{Cli, Global},
    exit::{Failure, Outcome},
};

/// The features that this binary was built with; none is optional in this release.
const FEATURES: &[&str] = &["http1", "http2", "tls-rustls", "allocator-mimalloc"];

/// Prints the version.
pub fn version(global: &Global, features: bool) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    if global.json {
        println!("{}", serde_json::json!({ "version": version, "features": FEATURES }));
    } else {
        println!("maitred {version}");
        if features {
            FEATURES.iter().for_each(|feature| println!("  {feature}"));
        }
    }
    Ok(())
}

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) -> Outcome {
    clap_complete::generate(shell, &mut Cli::command(), "maitred", &mut io::stdout());
    Ok(())
}

/// Prints `maitred.1`, or writes a page a command into `dir`.
pub fn man(dir: Option<&Path>) -> Outcome {
    let Some(dir) = dir else {
        return Ok(clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?);
    };
    fs::create_dir_all(dir).map_err(|error| Failure::new(format!("cannot make {}: {error}", dir.display())))?;
    clap_mangen::generate_to(Cli::command(), dir)?;
    Ok(())
}
