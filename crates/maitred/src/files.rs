//! Which file is meant.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{cli::Global, exit::Failure};

/// Where the file is looked for, in this order.
pub const PLACES: [&str; 2] = ["maitred.toml", "/etc/maitred/maitred.toml"];

/// The file that `--config`, `$MAITRED_CONFIG` or the usual places name; `None` where there is none at all.
pub fn look(global: &Global) -> Option<PathBuf> {
    let told = global.config.clone().or_else(|| std::env::var_os("MAITRED_CONFIG").map(PathBuf::from));
    told.or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.exists()))
}

/// The file, or a failure that lists the places.
pub fn find(global: &Global) -> Result<PathBuf, Failure> {
    look(global).ok_or_else(|| {
        Failure::invalid(format!(
            "no configuration file: looked at --config, $MAITRED_CONFIG, ./{}, {}\nhint: maitred init writes one",
            PLACES[0], PLACES[1]
        ))
    })
}

/// Its text.
pub fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::invalid(format!("cannot read {}: {error}", path.display())))
}
