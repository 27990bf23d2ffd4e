//! Where a server keeps what outlives it.

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Where services keep their state.
const USUAL: &str = "/var/lib/maitred";

/// The folder for the history of the server that runs `config`, made where it is not there yet. Nobody else can read it,
/// since a configuration may hold secrets.
pub fn of(config: &Path) -> Result<PathBuf, String> {
    below("history", config)
}

/// The folder for another part of what outlives the server that runs `config`.
pub fn below(part: &str, config: &Path) -> Result<PathBuf, String> {
    let mut failed = Vec::new();
    for base in candidates(|name| env::var_os(name)) {
        let folder = base.join(part).join(name(config));
        match prepare(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) => failed.push(format!("{}: {error}", folder.display())),
        }
    }
    Err(failed.join("; "))
}

/// `$STATE_DIRECTORY`, which systemd sets and which decides alone; else the usual place, else the user's.
fn candidates(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folders) = variable("STATE_DIRECTORY").filter(|value| !value.is_empty()) {
        // systemd separates several by colons.
        let first = folders.to_string_lossy().split(':').next().unwrap_or_default().to_owned();
        return vec![PathBuf::from(first)];
    }
    let home = set("HOME").map(|home| home.join(".local/state"));
    let own = set("XDG_STATE_HOME").filter(|path| path.is_absolute()).or(home).map(|state| state.join("maitred"));
    std::iter::once(PathBuf::from(USUAL)).chain(own).collect()
}

/// A name of its own for each file that is run: two servers of one machine do not meet.
fn name(config: &Path) -> String {
    let path = config.canonicalize().unwrap_or_else(|_| super::whole(config));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, path.as_os_str().as_encoded_bytes());
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let stem: String = stem.chars().filter(|letter| letter.is_ascii_alphanumeric()).take(32).collect();
    format!("{stem}-{}", &super::hex(digest.as_ref())[..16])
}

fn prepare(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let metadata = fs::symlink_metadata(folder)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to somebody else"));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    // A file system may be mounted so that nothing can be written, whatever the folder's mode says.
    let probe = folder.join(format!(".probe.{}", std::process::id()));
    fs::write(&probe, b"")?;
    fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<String> {
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        candidates(variable).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn systemd_decides_alone_and_a_user_has_a_place_of_its_own() {
        assert_eq!(found(&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), ("HOME", "/home/x")]), ["/var/lib/a"]);
        assert_eq!(found(&[("HOME", "/home/x")]), ["/var/lib/maitred", "/home/x/.local/state/maitred"]);
        let own = [("HOME", "/home/x"), ("XDG_STATE_HOME", "/state")];
        assert_eq!(found(&own), ["/var/lib/maitred", "/state/maitred"]);
        assert_eq!(found(&[("XDG_STATE_HOME", "relative")]), ["/var/lib/maitred"]);
    }

    #[test]
    fn the_folder_is_nobody_elses_to_read() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("history/x");
        prepare(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        prepare(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        let file = state.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(prepare(&file.join("x")).is_err());
    }

    #[test]
    fn two_files_have_two_folders() {
        assert_ne!(name(Path::new("/etc/a/maitred.toml")), name(Path::new("/etc/b/maitred.toml")));
        assert!(name(Path::new("/etc/a/maitred.toml")).starts_with("maitred-"));
    }
}
