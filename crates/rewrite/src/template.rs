//! Templates of the configuration, with their mistakes reported.

use document::{At, Code, Diagnostic, Report};
use filter::{Template, template::Scope};

/// Compiles `text`, which stands at `at`.
pub(crate) fn parse(text: &str, scope: &Scope<'_>, at: &At, report: &mut Report) -> Option<Template> {
    let refused = |mistake: filter::template::Mistake| {
        let label = format!("`{}`", text.get(mistake.range).unwrap_or(text));
        report.push(Diagnostic::new(Code::E0109, mistake.message).label(at, label).help(mistake.help));
    };
    Template::parse(text, scope).map_err(refused).ok()
}
