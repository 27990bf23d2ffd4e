//! From limits as written to limits as run.

use document::{At, Code, Diagnostic, Report, Size, Toggle};

use crate::{Access, Config};

/// The largest field block that a listener reads at all (`listen::MAX_HEADER`).
const LARGEST_HEADER: Size = Size::kib(256);

/// The longest target: positions in a path are kept in 16 bits.
const LONGEST_URL: Size = Size::kib(63);

impl Access {
    /// Compiles the limits of the route at `at`. `None` when anything is wrong.
    pub fn compile(config: &Config, at: &At, report: &mut Report) -> Option<Self> {
        let max_body = match config.max_body {
            None => Some(Size::mib(10).0),
            Some(Toggle::On(Size(bytes))) => Some(bytes),
            Some(Toggle::Off) => None,
        };
        let header = config.max_header.unwrap_or(Size::kib(64));
        let max_header = within(header, LARGEST_HEADER, "max_header", at, report);
        let url = config.max_url.unwrap_or(Size::kib(8));
        let max_url = within(url, LONGEST_URL, "max_url", at, report);
        Some(Self { max_body, max_header: max_header?, max_url: max_url? })
    }
}

/// A limit of at least one byte and at most what can be read at all.
fn within(size: Size, most: Size, key: &str, at: &At, report: &mut Report) -> Option<usize> {
    if (1..=most.0).contains(&size.0) {
        return usize::try_from(size.0).ok();
    }
    let label = if size.0 == 0 { "no request is that small".into() } else { format!("at most \"{most}\" can be read") };
    report.push(
        Diagnostic::new(Code::E0103, format!("`{key}` cannot be {size}"))
            .label(at.key(key), label)
            .help(format!("write a size from \"1B\" to \"{most}\", or delete the key")),
    );
    None
}
