//! Every configuration that we hand out is one, and the generated pages are what the binary would write.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use testkit::{Authority, binary, maitred, within};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file below `folder` whose name ends so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry, ending));
        } else if entry.to_string_lossy().ends_with(ending) {
            found.push(entry);
        }
    }
    found.sort();
    found
}

/// What `check --offline` complains of in `file`, run in a folder that has a certificate where the examples want one.
async fn complaint(folder: &Path, file: &Path) -> Option<String> {
    let mut command = tokio::process::Command::new(binary());
    command.args(["check", "--offline", "-c"]).arg(file).current_dir(folder).env_remove("MAITRED_CONFIG");
    command.envs([("TLS_CERT", "site.pem"), ("TLS_KEY", "site.key"), ("CLIENT_CA", "ca.pem")]);
    let output = within("check to end", command.output()).await.unwrap();
    (!output.status.success())
        .then(|| format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// A folder with `site.pem` and `site.key`, and the text with the places where certificates usually lie changed to it.
fn with_certificates() -> tempfile::TempDir {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let certificate = authority.issue(&["example.com", "*.example.com"]);
    std::fs::copy(&certificate.cert_file, folder.path().join("site.pem")).unwrap();
    std::fs::copy(&certificate.key_file, folder.path().join("site.key")).unwrap();
    std::fs::copy(authority.file(), folder.path().join("ca.pem")).unwrap();
    std::fs::write(folder.path().join("keys.toml"), "").unwrap();
    folder
}

/// Puts the files that an example names in the place of those that a reader has.
fn localised(text: &str, folder: &Path) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        for (key, file) in [
            ("cert", "site.pem"),
            ("key", "site.key"),
            ("ca", "ca.pem"),
            ("client_ca", "ca.pem"),
            ("keys", "keys.toml"),
        ] {
            line = replaced(&line, key, &folder.join(file).display().to_string());
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// `line` with the strings after `key =` that name a file of ours replaced by `file`.
fn replaced(line: &str, key: &str, file: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    let mark = format!("{key} ");
    while let Some(at) = rest.find(&mark) {
        let (before, after) = rest.split_at(at + key.len());
        out.push_str(before);
        let own_word = !before[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let trimmed = after.trim_start();
        let value = trimmed.strip_prefix('=').map(str::trim_start).and_then(|value| value.strip_prefix('"'));
        match value.and_then(|value| value.split_once('"')) {
            Some((old, tail)) if own_word && [".pem", ".key", ".toml"].iter().any(|end| old.ends_with(end)) => {
                out.push_str(&format!(" = \"{file}\""));
                rest = tail;
            }
            _ => rest = after,
        }
    }
    out + rest
}

#[tokio::test]
async fn every_example_passes_check() {
    let folder = with_certificates();
    let mut wrong = Vec::new();
    for file in files(&repository().join("conf"), ".toml") {
        wrong.extend(complaint(folder.path(), &file).await.map(|told| format!("{}:\n{told}", file.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The fenced `toml` blocks of a page with the lines that they begin at, without those marked as fragments.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Vec<&str>)> = None;
    for (number, line) in page.lines().enumerate() {
        match &mut open {
            Some((start, lines)) if line.trim() == "```" => {
                found.push((*start, lines.join("\n")));
                open = None;
            }
            Some((_, lines)) => lines.push(line),
            None if line.trim() == "```toml" => open = Some((number + 2, Vec::new())),
            None => {}
        }
    }
    found
}

#[tokio::test]
async fn every_configuration_in_the_manual_passes_check() {
    let folder = with_certificates();
    let mut pages = files(&repository().join("docs"), ".md");
    pages.push(repository().join("README.md"));
    // The generated reference shows keys one by one, and decision records show what was considered.
    pages.retain(|page| !page.ends_with("configuration.md") && !page.starts_with(repository().join("docs/adr")));
    pages.retain(|page| !page.starts_with(repository().join("docs/reference/errors")));
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for page in pages {
        for (line, block) in blocks(&std::fs::read_to_string(&page).unwrap()) {
            let file = folder.path().join("block.toml");
            std::fs::write(&file, localised(&block, folder.path())).unwrap();
            let place = page.strip_prefix(repository()).unwrap().display().to_string();
            wrong.extend(complaint(folder.path(), &file).await.map(|told| format!("{place}:{line}:\n{told}")));
            checked += 1;
        }
    }
    assert!(checked > 5, "only {checked} blocks were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The text of every file below `folder`, by its name there.
fn texts(folder: &Path) -> BTreeMap<PathBuf, String> {
    let name = |file: &PathBuf| file.strip_prefix(folder).unwrap().to_owned();
    files(folder, "").iter().map(|file| (name(file), std::fs::read_to_string(file).unwrap())).collect()
}

#[tokio::test]
async fn the_generated_pages_are_fresh() {
    let folder = tempfile::tempdir().unwrap();
    maitred(folder.path(), ["internal-docs", "."]).await.expect(0);
    let mut stale = Vec::new();
    for (name, text) in texts(folder.path()) {
        let committed = std::fs::read_to_string(repository().join(&name)).unwrap_or_default();
        if committed != text {
            stale.push(name.display().to_string());
        }
    }
    assert!(stale.is_empty(), "run `cargo xtask generate`; stale are {stale:?}");
}

#[tokio::test]
async fn the_sample_says_what_the_reference_says() {
    let sample = std::fs::read_to_string(repository().join("conf/sample.toml")).unwrap();
    let reference = std::fs::read_to_string(repository().join("docs/reference/configuration.md")).unwrap();
    for key in ["trusted_proxies", "max_body", "security_headers", "grace_period", "backends", "level"] {
        assert!(sample.contains(key) && reference.contains(key), "{key}");
    }
}
