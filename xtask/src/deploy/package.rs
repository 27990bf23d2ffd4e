//! The Debian package: made by cargo-deb with what lies in deploy/debian, liked by lintian, and installed into an empty
//! root with the files, the permissions and the user that it should have.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{check_configuration, scratch, tools};
use crate::{
    cargo,
    shell::{self, Failure, because},
    source,
};

/// Which package is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// For a person, as small as it gets.
    Release,
    /// For the checks, as fast as it gets.
    Trial,
}

/// What lintian says of every package that does not come from Debian itself, or that must ask policy-rc.d.
const NOT_OURS: &str = "initial-upload-closes-no-bugs,command-with-path-in-maintainer-script";

/// What a package must hold, as `dpkg-deb --contents` prints it.
const FILES: &[(&str, &str)] = &[
    ("-rwxr-xr-x", "./usr/bin/maitred"),
    ("-rw-r--r--", "./etc/maitred/maitred.toml"),
    ("-rw-r--r--", "./etc/maitred/conf.d/README"),
    ("-rw-r--r--", "./etc/logrotate.d/maitred"),
    ("-rw-r--r--", "./lib/systemd/system/maitred.service"),
    ("-rw-r--r--", "./usr/lib/sysusers.d/maitred.conf"),
    ("-rw-r--r--", "./usr/lib/tmpfiles.d/maitred.conf"),
    ("-rw-r--r--", "./usr/share/man/man1/maitred.1.gz"),
    ("-rw-r--r--", "./usr/share/man/man1/maitred-check.1.gz"),
    ("-rw-r--r--", "./usr/share/bash-completion/completions/maitred"),
    ("-rw-r--r--", "./usr/share/zsh/vendor-completions/_maitred"),
    ("-rw-r--r--", "./usr/share/fish/vendor_completions.d/maitred.fish"),
    ("-rw-r--r--", "./usr/share/doc/maitred/copyright"),
    ("-rw-r--r--", "./usr/share/doc/maitred/changelog.gz"),
    ("-rw-r--r--", "./usr/share/doc/maitred/changelog.Debian.gz"),
    ("-rw-r--r--", "./usr/share/doc/maitred/examples/api.toml"),
];

/// What an administrator may change, and dpkg therefore asks about.
const CONFFILES: &str = "/etc/logrotate.d/maitred\n/etc/maitred/conf.d/README\n/etc/maitred/maitred.toml\n";

pub(super) fn check() -> Result<(), Failure> {
    scripts()?;
    let folder = scratch("package")?;
    let toml = source::read("deploy/debian/maitred.toml".as_ref())?;
    check_configuration(&toml, "deploy/debian/maitred.toml", &folder)?;
    let made = trial()?;
    contents(&made)?;
    lint(&made)?;
    let root = installed(&made)?;
    user(&root)?;
    let target = fs::read_link(root.join("etc/systemd/system/multi-user.target.wants/maitred.service"));
    match target {
        Ok(target) if target.ends_with("maitred.service") => Ok(()),
        _ => Err(Failure::new("the first installation does not enable the service")),
    }
}

/// The package of the debug binary, made once for all the checks.
pub(super) fn trial() -> Result<PathBuf, Failure> {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(made.clone());
    }
    let made = assemble(&cargo::debug_binary(), Kind::Trial)?;
    Ok(MADE.get_or_init(|| made).clone())
}

/// The package `made` anew as another revision of Debian's, in `folder`.
pub(super) fn revise(made: &Path, revision: u32, folder: &Path) -> Result<(), Failure> {
    let tree = folder.join("tree");
    shell::output(Command::new("dpkg-deb").arg("--raw-extract").arg(made).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control).map_err(because("cannot read the control file"))?;
    let version = version()?;
    let text = text.replace(&format!("Version: {version}-1"), &format!("Version: {version}-{revision}"));
    fs::write(&control, text).map_err(because("cannot write the control file"))?;
    let mut build = Command::new("dpkg-deb");
    build.args(["-Znone", "--root-owner-group", "--build"]).arg(&tree).arg(folder.join(format!("{revision}.deb")));
    shell::output(&mut build)?;
    fs::remove_dir_all(&tree).map_err(because("cannot remove a tree"))
}

/// Puts what the package holds beside `binary` and lets cargo-deb make it; gives back where it is.
pub(super) fn assemble(binary: &Path, kind: Kind) -> Result<PathBuf, Failure> {
    let target = cargo::target().join("package");
    let stage = target.join("release");
    shell::empty(&stage)?;
    shell::output(Command::new("strip").arg("-o").arg(stage.join("maitred")).arg(binary))?;
    pages(binary, &stage.join("man"))?;
    completions(binary, &stage.join("completions"))?;
    let changelog = stage.join("changelog");
    fs::copy(shell::root().join("CHANGELOG.md"), &changelog).map_err(because("cannot copy CHANGELOG.md"))?;
    compress(&changelog)?;
    let (folder, haste) = match kind {
        Kind::Release => (cargo::target().join("debian"), None),
        Kind::Trial => (cargo::target().join("deploy/debian"), Some("--fast")),
    };
    fs::create_dir_all(&folder).map_err(because(format!("cannot make {}", folder.display())))?;
    let made = folder.join(format!("maitred_{}-1.deb", version()?));
    let mut deb = tools::cargo_deb();
    deb.args(["--package", "maitred", "--no-build", "--no-strip"]).args(haste).arg("--output").arg(&made);
    shell::output(deb.env("CARGO_TARGET_DIR", target))?;
    Ok(made)
}

fn pages(binary: &Path, folder: &Path) -> Result<(), Failure> {
    shell::empty(folder)?;
    shell::output(Command::new(binary).arg("man").arg(folder))?;
    let pages = source::files_below(folder)?;
    pages.iter().try_for_each(|page| compress(&folder.join(page)))
}

fn completions(binary: &Path, folder: &Path) -> Result<(), Failure> {
    shell::empty(folder)?;
    for (shell, file) in [("bash", "maitred.bash"), ("zsh", "_maitred"), ("fish", "maitred.fish")] {
        let script = shell::output(Command::new(binary).args(["completions", shell]))?;
        fs::write(folder.join(file), script).map_err(because(format!("cannot write {file}")))?;
    }
    Ok(())
}

/// As Debian wants documents: without a name and a time in them.
fn compress(file: &Path) -> Result<(), Failure> {
    shell::output(Command::new("gzip").args(["-9", "--no-name", "--force"]).arg(file)).map(drop)
}

/// The version in Cargo.toml, which Debian's changelog must begin with.
fn version() -> Result<String, Failure> {
    let manifest = source::read("Cargo.toml".as_ref())?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    let version = version.ok_or_else(|| Failure::new("Cargo.toml has no version"))?;
    let changelog = source::read("deploy/debian/changelog".as_ref())?;
    match changelog.starts_with(&format!("maitred ({version}-1)")) {
        true => Ok(version.to_owned()),
        false => Err(Failure::new(format!("deploy/debian/changelog does not begin with maitred ({version}-1)"))),
    }
}

/// The scripts say what they mean.
fn scripts() -> Result<(), Failure> {
    let folder = shell::root().join("deploy/debian");
    let scripts = ["postinst", "prerm", "postrm"].map(|name| folder.join(name));
    // `local` is no POSIX, and in every shell that Debian allows as /bin/sh.
    shell::output(Command::new("shellcheck").args(["--shell=sh", "--exclude=SC3043"]).args(scripts))?;
    let own = ["boot.sh", "scenario.sh", "container.sh"].map(|name| shell::root().join("xtask/deploy").join(name));
    shell::output(Command::new("shellcheck").args(["--shell=sh", "--exclude=SC3043"]).args(own)).map(drop)
}

fn contents(made: &Path) -> Result<(), Failure> {
    let listed = shell::output(Command::new("dpkg-deb").arg("--contents").arg(made))?;
    let listed = String::from_utf8_lossy(&listed);
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    for (mode, path) in FILES {
        let there = lines.iter().any(|line| line.first() == Some(mode) && line.last() == Some(path));
        if !there {
            return Err(Failure::new(format!("the package has no {path} with {mode}\n{listed}")));
        }
    }
    if let Some(line) = lines.iter().find(|line| line.get(1) != Some(&"0/0")) {
        return Err(Failure::new(format!("a file of the package is not root's: {}", line.join(" "))));
    }
    let conffiles = shell::output(Command::new("dpkg-deb").args(["--info"]).arg(made).arg("conffiles"))?;
    let mut conffiles: Vec<String> =
        String::from_utf8_lossy(&conffiles).lines().map(|line| format!("{line}\n")).collect();
    conffiles.sort();
    match conffiles.concat() == CONFFILES {
        true => Ok(()),
        false => Err(Failure::new(format!("the package's conffiles are\n{}", conffiles.concat()))),
    }
}

fn lint(made: &Path) -> Result<(), Failure> {
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--suppress-tags", NOT_OURS]);
    shell::output(lintian.arg(made)).map(drop)
}

/// An empty root with the package installed. The scripts run outside of it, as Debian builds images: they are told where
/// it is, and whatever they do elsewhere is a mistake.
pub(super) fn installed(made: &Path) -> Result<PathBuf, Failure> {
    let root = scratch("root")?;
    for folder in ["var/lib/dpkg/updates", "var/lib/dpkg/info", "etc"] {
        fs::create_dir_all(root.join(folder)).map_err(because("cannot make a root"))?;
    }
    for (file, text) in
        [("var/lib/dpkg/status", ""), ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"), ("etc/group", "root:x:0:\n")]
    {
        fs::write(root.join(file), text).map_err(because("cannot make a root"))?;
    }
    let mut dpkg = Command::new("dpkg");
    dpkg.arg(format!("--root={}", root.display()));
    dpkg.args(["--force-script-chrootless", "--force-not-root", "--force-depends", "--no-triggers", "--install"]);
    shell::output(dpkg.arg(made))?;
    Ok(root)
}

fn user(root: &Path) -> Result<(), Failure> {
    let users = fs::read_to_string(root.join("etc/passwd")).map_err(because("cannot read the root's users"))?;
    let user = users.lines().find(|line| line.starts_with("maitred:"));
    match user {
        Some(user) if user.ends_with(":/var/lib/maitred:/usr/sbin/nologin") => Ok(()),
        _ => Err(Failure::new(format!("the installation makes no user `maitred` as it should\n{users}"))),
    }
}
