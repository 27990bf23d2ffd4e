//! Every configuration that we show somebody is one that maitred accepts: the files of `conf/` and the fenced blocks of
//! the documents.
//!
//! A block marked `toml` is complete and must load. One marked `toml,fragment`, and every one of the generated reference,
//! is a part: it may lack what makes it whole, but holds no mistake in itself.

#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// What a part may lack: a destination, an upstream that stands elsewhere, a file, a variable.
const INCOMPLETE: &[&str] = &["E0106", "E0201", "E0305", "E0401", "E0601", "E0602"];

#[test]
fn every_file_of_conf_loads() {
    let files = files_with("conf", "toml");
    assert!(files.len() >= 6, "{files:?}");
    let mut wrong = Vec::new();
    for file in files {
        wrong.extend(check(&file).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_complete_block_of_the_documents_loads() {
    let blocks: Vec<Block> = blocks().into_iter().filter(|block| !block.partial).collect();
    assert!(blocks.len() >= 10, "only {} blocks found", blocks.len());
    let mut wrong = Vec::new();
    for block in blocks {
        wrong.extend(check(&block.save()).err().map(|report| format!("{}\n{report}", block.place)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_partial_block_of_the_documents_holds_no_mistake() {
    let mut wrong = Vec::new();
    for block in blocks().into_iter().filter(|block| block.partial) {
        if let Err(report) = check(&block.save()) {
            let mistakes = report.split("error[").skip(1);
            let mistaken = mistakes.filter(|text| !INCOMPLETE.iter().any(|code| text.starts_with(code))).count() > 0;
            wrong.extend(mistaken.then(|| format!("{}\n{report}", block.place)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A fenced block of TOML.
struct Block {
    place: String,
    text: String,
    partial: bool,
}

impl Block {
    /// Writes the block where `maitred check` can read it.
    fn save(&self) -> PathBuf {
        let name: String = self.place.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
        fs::write(&file, &self.text).unwrap();
        file
    }
}

fn blocks() -> Vec<Block> {
    let mut documents = files_with("docs", "md");
    documents.extend(["README.md", "bench/README.md"].map(|name| root().join(name)));
    documents.iter().flat_map(|file| blocks_of(file)).collect()
}

fn blocks_of(file: &Path) -> Vec<Block> {
    let shown = file.strip_prefix(root()).unwrap().display().to_string();
    let text = fs::read_to_string(file).unwrap();
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(tag) = line.strip_prefix("```").filter(|tag| tag.starts_with("toml")) else { continue };
        let inside: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let partial = tag == "toml,fragment" || shown.starts_with("docs/reference");
        blocks.push(Block { place: format!("{shown}:{}", index + 1), text: inside.join("\n") + "\n", partial });
    }
    blocks
}

/// What `maitred check` says of the file, when it refuses it.
fn check(file: &Path) -> Result<(), String> {
    let mut check = Command::new(binary());
    check.args(["check", "--offline", "--color", "never", "--config"]).arg(file).current_dir(root());
    let (cert, key) = certificate();
    check.env("TLS_CERT", cert).env("TLS_KEY", key);
    let output = check.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    match output.status.code() {
        Some(0) => Ok(()),
        code => Err(format!("{}: exit {code:?}\n{}", file.display(), String::from_utf8_lossy(&said))),
    }
}

/// The binary that was built beside this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let binary = test.ancestors().nth(2).unwrap().join("maitred");
    assert!(binary.is_file(), "{} is not there: `cargo xtask test` builds it first", binary.display());
    binary
}

/// A certificate and its key for the examples that take them from the environment.
fn certificate() -> &'static (PathBuf, PathBuf) {
    static CERTIFICATE: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        // Each test may run in a process of its own.
        let name = format!("documents-{}", std::process::id());
        let file = |extension: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{extension}"));
        let (cert, key) = (file("pem"), file("key"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
        let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        (cert, key)
    })
}

fn files_with(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
