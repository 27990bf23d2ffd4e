//! Which file is meant.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{cli::Global, exit::Failure};

/// The file that `--config`, `$MAITRED_CONFIG` or the usual places name; `None` where there is none at all.
pub fn look(global: &Global) -> Option<PathBuf> {
    config::find(global.config.as_deref()).ok()
}

/// The file, or a failure that lists the places.
pub fn find(global: &Global) -> Result<PathBuf, Failure> {
    config::find(global.config.as_deref()).map_err(|places| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        let places = places.join(", ");
        Failure::invalid(format!("no configuration file: looked at {places}\nhint: maitred init writes one"))
    })
}

/// Its text.
pub fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::invalid(format!("cannot read {}: {error}", path.display())))
}

/// The path from the root, by which a running server and a command agree on which file is meant.
pub fn whole(path: &Path) -> String {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}
