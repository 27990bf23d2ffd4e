//! The report as programs read it: one JSON object for each diagnostic.

use serde_json::{Value, json};

use crate::{Diagnostic, Document, Level, Place, Report};

impl Document {
    /// All diagnostics, one line of JSON each, with the members `code`, `level`, `message`, `file`, `line`, `column`,
    /// `span`, `help` and `patch`. Lines and columns count from one; spans are bytes of the file, the end excluded.
    pub fn render_json(&self, report: &Report) -> Vec<String> {
        self.sorted(report).into_iter().map(|diagnostic| self.object(diagnostic).to_string()).collect()
    }

    fn object(&self, diagnostic: &Diagnostic) -> Value {
        let level = match diagnostic.level() {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        let place = diagnostic.labels.first().and_then(|label| self.locate(&self.place(&label.place)));
        let patch = diagnostic.patch.as_ref().map(|patch| self.patch(&patch.place, &patch.replacement));
        json!({
            "code": diagnostic.code.as_str(),
            "level": level,
            "message": self.redact(&diagnostic.message),
            "file": place.as_ref().map(|place| place.file),
            "line": place.as_ref().map(|place| place.position.line),
            "column": place.as_ref().map(|place| place.position.column),
            "span": place.as_ref().map(|place| json!({ "start": place.span.start, "end": place.span.end })),
            "help": diagnostic.help.as_ref().map(|help| self.redact(help)),
            "patch": patch,
        })
    }

    fn patch(&self, place: &Place, replacement: &str) -> Option<Value> {
        let place = self.locate(&self.place(place))?;
        let span = json!({ "start": place.span.start, "end": place.span.end });
        Some(json!({ "file": place.file, "span": span, "replacement": replacement }))
    }
}
