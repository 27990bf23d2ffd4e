//! Where the configuration is looked for.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The variable that may name the file.
pub const VARIABLE: &str = "MAITRED_CONFIG";

/// The file to load, or every place that was looked at in vain.
///
/// The one that the command line names; else the one that `$MAITRED_CONFIG` names; else `./maitred.toml`; else
/// `/etc/maitred/maitred.toml`. A file that was named is not looked for elsewhere: whether it is there shows when it is
/// read.
///
/// # Errors
///
/// Fails with the places that were looked at when there is no file at any.
pub fn find(named: Option<&Path>) -> Result<PathBuf, Vec<PathBuf>> {
    let variable = env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = named.map(Path::to_path_buf).or(variable) {
        return Ok(path);
    }
    let places = ["maitred.toml", "/etc/maitred/maitred.toml"].map(PathBuf::from);
    match places.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(places.to_vec()),
    }
}
