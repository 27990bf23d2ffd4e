//! From decompression as written to decompression as done.

use document::{At, Code, Diagnostic, Report};

use super::{Decompress, DecompressConfig};

/// Texts seldom pack better than this, and bombs do.
const RATIO: u32 = 100;

impl Decompress {
    /// Compiles the table at `at`, a route's `decompress`. `None` when anything is wrong.
    pub fn compile(config: &DecompressConfig, at: &At, report: &mut Report) -> Option<Self> {
        let max_ratio = config.table.max_ratio.unwrap_or(RATIO);
        if max_ratio == 0 {
            report.push(
                Diagnostic::new(Code::E0103, "`max_ratio` cannot be 0")
                    .label(at.key("max_ratio"), "at least 1")
                    .help("write `decompress = false` to pass on what comes as it is"),
            );
            return None;
        }
        Some(Self { max_ratio: max_ratio.into() })
    }
}
