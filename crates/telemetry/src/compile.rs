//! `[logging]` as run.

use std::path::{Path, PathBuf};

use document::{At, Code, Diagnostic, Report, Toggle, nearest};

use crate::{
    access_log::{Output, Policy},
    config::{Access, Logging},
};

/// Logging as run.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The process log's filter, in the syntax of env_logger; checked.
    pub level: String,
    /// The access log's form and place; `None` when there is none.
    pub access: Option<Policy>,
}

impl Settings {
    /// Hides these query parameters too, whatever `redact` says: they carry credentials.
    pub fn hide<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        let Some(access) = &mut self.access else { return };
        let mut redact = std::mem::take(&mut access.redact).into_vec();
        redact.extend(names.into_iter().map(|name| name.to_lowercase().into()));
        redact.sort();
        redact.dedup();
        access.redact = redact.into();
    }
}

/// The levels of the process log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The level where none is written.
const DEFAULT_LEVEL: &str = "info";

/// Query parameters and fields that commonly carry credentials.
const REDACTED: [&str; 16] = [
    "access_token",
    "api_key",
    "apikey",
    "authorization",
    "client_secret",
    "code",
    "cookie",
    "id_token",
    "jwt",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "token",
    "x-amz-signature",
];

/// Checks `[logging]`, which stands at `at`. Nothing is opened or created; whether a file could be is checked.
pub fn compile(config: &Logging, at: &At, report: &mut Report) -> Option<Settings> {
    let level = level(config.level.as_deref().unwrap_or(DEFAULT_LEVEL), &at.key("level"), report);
    let access = match &config.access {
        Some(Toggle::Off) => Some(None),
        Some(Toggle::On(access)) => self::access(access, &at.key("access"), report).map(Some),
        None => self::access(&Access::default(), &at.key("access"), report).map(Some),
    };
    Some(Settings { level: level?, access: access? })
}

fn level(text: &str, at: &At, report: &mut Report) -> Option<String> {
    let wrong: Vec<(&str, String)> = wrong_directives(text).collect();
    for (directive, help) in &wrong {
        let message = format!("`{directive}` is not a log level");
        let diagnostic = Diagnostic::new(Code::E0108, message).label(at, "expected a level or `target=level`");
        report.push(diagnostic.help(help).note(format!("the levels are {}", LEVELS.join(", "))));
    }
    wrong.is_empty().then(|| text.to_owned())
}

/// Says in one sentence why a text is no level for the process log.
///
/// # Errors
/// It is none.
pub fn check_level(text: &str) -> Result<(), String> {
    match wrong_directives(text).next() {
        None => Ok(()),
        Some((directive, help)) => Err(format!("`{directive}` is not a log level: {help}")),
    }
}

/// The parts of a level that are none, each with what to write instead.
fn wrong_directives(text: &str) -> impl Iterator<Item = (&str, String)> {
    text.split(',').map(str::trim).filter_map(|directive| {
        let (target, level) = directive.rsplit_once('=').map_or((None, directive), |(t, l)| (Some(t.trim()), l.trim()));
        let known = LEVELS.iter().any(|name| name.eq_ignore_ascii_case(level));
        if known && target.is_none_or(is_target) {
            return None;
        }
        let help = match nearest(&level.to_ascii_lowercase(), LEVELS) {
            Some(near) if !known => format!("did you mean `{near}`?"),
            _ => "write for example \"info\" or \"info,maitred_upstream=debug\"".to_owned(),
        };
        Some((directive, help))
    })
}

/// Whether `text` is the path of a module, such as `maitred_upstream::resolve`.
fn is_target(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':'))
}

fn access(config: &Access, at: &At, report: &mut Report) -> Option<Policy> {
    let output = output(config.output.as_deref().unwrap_or("stdout"), &at.key("output"), report);
    let sample = sample(config.sample.unwrap_or(1.0), &at.key("sample"), report);
    let redact = match &config.redact {
        None => Some(REDACTED.map(Box::from).into()),
        Some(names) => {
            let at = at.key("redact");
            let names = names.iter().enumerate().map(|(index, name)| redacted(name, &at.index(index), report));
            // All of them first: an Option stops at the first mistake.
            names.collect::<Vec<_>>().into_iter().collect()
        }
    };
    Some(Policy { format: config.format.unwrap_or_default(), output: output?, redact: redact?, sample: sample? })
}

fn redacted(name: &str, at: &At, report: &mut Report) -> Option<Box<str>> {
    if !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'&' | b'=' | b';' | b'%'))
    {
        return Some(name.to_ascii_lowercase().into());
    }
    let message = format!("`{name}` is not the name of a query parameter or header field");
    report.add(Code::E0108, at, message, "expected a name such as `token`");
    None
}

fn sample(share: f64, at: &At, report: &mut Report) -> Option<f64> {
    if (0.0..=1.0).contains(&share) {
        return Some(share);
    }
    let diagnostic = Diagnostic::new(Code::E0103, format!("`{share}` is not a share")).label(at, "expected 0.0 to 1.0");
    report.push(diagnostic.help("1.0 writes every request, 0.1 one in ten"));
    None
}

fn output(text: &str, at: &At, report: &mut Report) -> Option<Output> {
    match text {
        "stdout" => return Some(Output::Stdout),
        "stderr" => return Some(Output::Stderr),
        _ if !text.contains('/') => {
            let message = format!("`{text}` is not a place for the access log");
            let help = match nearest(text, ["stdout", "stderr"]) {
                Some(near) => format!("did you mean `{near}`? A file is written as a path, such as `./{text}`"),
                None => format!("to write to a file of that name say `./{text}`"),
            };
            let label = "expected `stdout`, `stderr` or a path with a `/`";
            report.push(Diagnostic::new(Code::E0108, message).label(at, label).help(help));
            return None;
        }
        _ => {}
    }
    let path = PathBuf::from(text);
    match writable(&path) {
        Ok(()) => Some(Output::File(path)),
        Err(reason) => {
            report.push(unwritable(&path, at, &reason));
            None
        }
    }
}

/// The report of a log that cannot be written.
pub(crate) fn unwritable(path: &Path, at: &At, reason: &str) -> Diagnostic {
    Diagnostic::new(Code::E0601, format!("the access log `{}` cannot be written", path.display()))
        .label(at, reason)
        .help("create the folder and give the user that runs maitred the right to write there")
}

/// Says why `path` cannot be appended to, without creating it.
///
/// # Errors
/// It cannot.
pub fn writable(path: &Path) -> Result<(), String> {
    use rustix::fs::Access as Right;
    let may = |path: &Path, right: Right| {
        rustix::fs::access(path, right).map_err(|error| std::io::Error::from(error).to_string())
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err("this is a folder".to_owned()),
        Ok(_) => may(path, Right::WRITE_OK),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            may(folder, Right::WRITE_OK | Right::EXEC_OK).map_err(|error| format!("`{}`: {error}", folder.display()))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
