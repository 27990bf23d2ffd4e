//! From compression as written to compression as done.

use document::{At, Code, Diagnostic, Report, Size};

use super::{Algorithm, Compress, CompressConfig, types::Pattern};

/// What compresses well, and what the web is made of.
const TYPES: &[&str] = &[
    "text/*",
    "application/json",
    "application/*+json",
    "application/javascript",
    "application/xml",
    "application/*+xml",
    "application/x-ndjson",
    "application/wasm",
    "application/graphql",
    "application/manifest+json",
    "application/vnd.ms-fontobject",
    "image/svg+xml",
    "image/bmp",
    "image/x-icon",
    "font/ttf",
    "font/otf",
];

/// The preferred order where none is written.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::Zstd, Algorithm::Brotli, Algorithm::Gzip];

/// The level where none is written.
const LEVEL: u32 = 6;

impl Compress {
    /// Compiles the table at `at`, a route's `compress`. `None` when anything is wrong.
    pub fn compile(config: &CompressConfig, at: &At, report: &mut Report) -> Option<Self> {
        let errors = report.errors();
        let table = &config.table;
        let algorithms = table.algorithms.as_ref().map_or(&ALGORITHMS[..], |written| &written.0);
        check_algorithms(algorithms, &at.key("algorithms"), report);
        let level = table.level.unwrap_or(LEVEL);
        if !(1..=9).contains(&level) {
            report.add(
                Code::E0103,
                &at.key("level"),
                format!("`level` cannot be {level}"),
                "from 1 (fast) to 9 (small)",
            );
        }
        let types: Vec<Pattern> = match &table.types {
            None => TYPES.iter().filter_map(|text| Pattern::parse(text).ok()).collect(),
            Some(written) => patterns(written, &at.key("types"), report),
        };
        (report.errors() == errors).then(|| Self {
            algorithms: algorithms.into(),
            level,
            // Nothing does not get shorter, and would have to be framed as if it were something.
            min_size: table.min_size.unwrap_or(Size::kib(1)).0.max(1),
            types: types.into(),
        })
    }
}

fn check_algorithms(written: &[Algorithm], at: &At, report: &mut Report) {
    if written.is_empty() {
        report.push(
            Diagnostic::new(Code::E0108, "no algorithm is left to compress with")
                .label(at, "an empty list")
                .help("write `compress = false` to switch it off"),
        );
    }
    for (index, algorithm) in written.iter().enumerate() {
        if written[..index].contains(algorithm) {
            report.push(
                Diagnostic::new(Code::E0108, format!("`{}` stands here twice", algorithm.name()))
                    .label(at.index(index), "the second time")
                    .help("delete it; the first place says how much it is preferred"),
            );
        }
    }
}

fn patterns(written: &[String], at: &At, report: &mut Report) -> Vec<Pattern> {
    let mut patterns = Vec::with_capacity(written.len());
    if written.is_empty() {
        report.push(
            Diagnostic::new(Code::E0108, "no type is left to compress")
                .label(at, "an empty list")
                .help("write `compress = false` to switch it off"),
        );
    }
    for (index, text) in written.iter().enumerate() {
        // One value stands for a list of one, and has the key's own place.
        let place = if written.len() == 1 { at.clone() } else { at.index(index) };
        match Pattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(wrong) => report.push(
                Diagnostic::new(Code::E0108, format!("`{text}` is not a type of content"))
                    .label(&place, wrong)
                    .help("write for example \"application/json\", \"text/*\" or \"application/*+json\""),
            ),
        }
    }
    patterns
}
