//! From a file to the configuration: read, include, fill in, spell out, inherit, decode.

use std::{
    collections::HashSet,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use document::{
    At, Code, Diagnostic, Document, Environment, Report,
    tree::{Node, Table, Value},
};

use crate::{Config, assemble, include, inherit, spell};

/// What came of loading.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The files as one tree, which the report's places refer to.
    pub document: Document,
    /// The configuration; `None` when a file could not be read or is not TOML. It is there, as far as it could be
    /// read, even when the report has errors, so that checks further on find the rest: ask the report whether to use it.
    pub config: Option<Config>,
    /// Every mistake found so far.
    pub report: Report,
    /// The files read, the first one first.
    pub files: Vec<PathBuf>,
}

impl Loaded {
    /// The report as people read it.
    pub fn render(&self, color: bool) -> String {
        self.document.render(&self.report, color)
    }
}

/// Loads a file and what it includes.
pub fn load(path: &Path) -> Loaded {
    load_from(path, Source::Disk)
}

/// Loads a file and what it includes from texts that were kept, each with its path, as if the files still said that.
/// Variables, and files that a value is taken from (`${file:…}`), are those of now.
pub fn load_kept(path: &Path, kept: &[(PathBuf, String)]) -> Loaded {
    load_from(path, Source::Kept(kept))
}

fn load_from(path: &Path, source: Source<'_>) -> Loaded {
    let mut loading = Loading::new(&|name| std::env::var(name).ok());
    loading.source = source;
    match source.read(path) {
        Ok(text) => loading.file(path, &text),
        Err(diagnostic) => loading.refuse(diagnostic),
    }
    loading.finish()
}

/// Loads a text as if it were a file of that name in `folder`.
pub fn load_text(name: &str, text: &str, folder: &Path) -> Loaded {
    load_text_with(name, text, folder, &|name| std::env::var(name).ok())
}

/// As [`load_text`], with variables of one's own in place of the environment's.
pub fn load_text_with(name: &str, text: &str, folder: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Loaded {
    let mut loading = Loading::new(variable);
    loading.text(name, text, folder);
    loading.finish()
}

/// Where the texts of files come from.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Disk,
    Kept(&'a [(PathBuf, String)]),
}

impl Source<'_> {
    fn read(self, path: &Path) -> Result<String, Diagnostic> {
        match self {
            Self::Disk => read(path),
            Self::Kept(files) => {
                let found = files.iter().find(|(kept, _)| include::plain(kept) == include::plain(path));
                found.map(|(_, text)| text.clone()).ok_or_else(|| unreadable(path, "it was not kept".into()))
            }
        }
    }

    /// The files that a pattern of `include` stands for.
    fn expand(self, folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
        match self {
            Self::Disk => include::expand(folder, pattern),
            Self::Kept(files) => Ok(include::among(files.iter().map(|(path, _)| path), folder, pattern)),
        }
    }
}

struct Loading<'a> {
    source: Source<'a>,
    document: Document,
    report: Report,
    files: Vec<PathBuf>,
    seen: HashSet<PathBuf>,
    variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a file could not be read at all.
    broken: bool,
}

impl<'a> Loading<'a> {
    fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            source: Source::Disk,
            document: Document::new(),
            report: Report::new(),
            files: Vec::new(),
            seen: HashSet::new(),
            variable,
            broken: false,
        }
    }

    fn refuse(&mut self, diagnostic: Diagnostic) {
        self.broken = true;
        self.report.push(diagnostic);
    }

    fn file(&mut self, path: &Path, text: &str) {
        let path = path.strip_prefix(".").unwrap_or(path);
        self.seen.insert(identity(path));
        self.files.push(path.to_path_buf());
        self.text(&path.to_string_lossy(), text, path.parent().unwrap_or(Path::new("")));
    }

    fn text(&mut self, name: &str, text: &str, folder: &Path) {
        let errors = self.report.errors();
        let mut tree = self.document.read(name, text, &mut self.report);
        self.broken |= self.report.errors() > errors;
        let environment = Environment { variable: self.variable, ..Environment::of_process(folder) };
        self.document.fill_in(&mut tree, &environment, &mut self.report);
        let include = tree.remove("include").map(|entry| entry.node);
        self.document.merge(tree, &mut self.report);
        for (pattern, span) in include.map(|node| self.patterns(&node)).unwrap_or_default() {
            self.include(folder, &pattern, &span);
        }
    }

    fn patterns(&mut self, node: &Node) -> Vec<(String, Range<usize>)> {
        let one = std::slice::from_ref(node);
        let nodes = if let Value::List(list) = &node.value { list } else { one };
        let mut patterns = Vec::new();
        for node in nodes {
            match node.as_str() {
                Some(pattern) => patterns.push((pattern.to_owned(), node.span.clone())),
                None => {
                    self.report.push(Diagnostic::new(Code::E0101, "wrong type for `include`").label(
                        node.span.clone(),
                        format!("expected a path or a list of them, found {}", node.describe()),
                    ))
                }
            }
        }
        patterns
    }

    fn include(&mut self, folder: &Path, pattern: &str, span: &Range<usize>) {
        let paths = match self.source.expand(folder, pattern) {
            Ok(paths) if paths.is_empty() && !include::is_pattern(pattern) => vec![folder.join(pattern)],
            Ok(paths) => paths,
            Err(error) => {
                let diagnostic = Diagnostic::new(Code::E0601, format!("cannot look for `{pattern}`"));
                return self.refuse(diagnostic.label(span.clone(), error.to_string()));
            }
        };
        for path in paths {
            if self.seen.contains(&identity(&path)) {
                continue;
            }
            match self.source.read(&path) {
                Ok(text) => self.file(&path, &text),
                Err(mut diagnostic) => {
                    let reason = diagnostic.notes.pop().unwrap_or_default();
                    self.refuse(diagnostic.label(span.clone(), reason));
                }
            }
        }
    }

    fn finish(mut self) -> Loaded {
        let config = (!self.broken).then(|| {
            spell::out(&mut self.document, &mut self.report);
            inherit::defaults(&mut self.document);
            assemble::config(&self.document, &mut self.report)
        });
        Loaded { document: self.document, config, report: self.report, files: self.files }
    }
}

/// What a file is told apart by, however its path is spelt.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| include::plain(path))
}

fn unreadable(path: &Path, reason: String) -> Diagnostic {
    Diagnostic::new(Code::E0601, format!("cannot read `{}`", path.display())).note(reason)
}

fn read(path: &Path) -> Result<String, Diagnostic> {
    let refused = |reason| unreadable(path, reason);
    let bytes = fs::read(path).map_err(|error| refused(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        refused(format!("line {line} is not UTF-8"))
    })
}

/// The table of a section, to change; a section of another type is reported once.
pub(crate) fn section<'d>(document: &'d mut Document, name: &str) -> Option<&'d mut Table> {
    document.root_mut().as_table_mut()?.entry_mut(name)?.node.as_table_mut()
}

/// The path of an entry of a section.
pub(crate) fn at(section: &str, name: &str) -> At {
    At::root().key(section).key(name)
}
