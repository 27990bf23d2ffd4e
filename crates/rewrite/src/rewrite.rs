//! What the origin is asked instead of what the client asked: path and query.

use document::{At, Code, Diagnostic, Report};
use filter::{Admit, Reply, Template, View, template::Scope};

use crate::{QueryConfig, path::Path, query::QueryEdits};

/// The target for the origin: the normalised path rewritten, and the query edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    path: Option<Path>,
    query: QueryEdits,
}

impl Rewrite {
    /// Compiles `rewrite` and `query` of a route's `request`, which stands at `at`. `Some(None)` when there is nothing to
    /// rewrite, `None` when something is wrong.
    pub fn compile(
        rewrite: Option<&String>,
        query: Option<&QueryConfig>,
        scope: Scope<'_>,
        at: &At,
        report: &mut Report,
    ) -> Option<Option<Self>> {
        let path = rewrite.map(|text| path(text, scope, &at.key("rewrite"), report));
        let query = match query {
            Some(query) => QueryEdits::compile(query, scope, &at.key("query"), report),
            None => Some(QueryEdits::default()),
        };
        let path = match path {
            Some(path) => Some(path?),
            None => None,
        };
        let rewrite = Self { path, query: query? };
        Some(if rewrite.path.is_none() && rewrite.query.is_empty() { None } else { Some(rewrite) })
    }

    /// What path and query are made of.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.path.iter().map(Path::template).chain(self.query.templates())
    }

    /// Appends path and query for the origin to `out`. A request that [`admit`](Admit::admit) refuses keeps its own
    /// path.
    pub fn target(&self, view: &View<'_>, out: &mut String) {
        let rewritten = self.path.as_ref().is_some_and(|path| path.render(view, out).is_ok());
        if !rewritten {
            out.push_str(view.path);
        }
        self.query.render(view, out);
    }
}

/// Refuses a request whose captures or headers would lead out of the path that the template says (`/files/{1}` with a
/// `{1}` of `../secret`).
impl Admit for Rewrite {
    type Proof = ();

    fn admit(&self, request: &View<'_>) -> Result<(), Reply> {
        self.judge(request)
    }

    fn judge(&self, request: &View<'_>) -> Result<(), Reply> {
        match &self.path {
            Some(path) if path.may_stray() => Ok(path.render(request, &mut String::new())?),
            _ => Ok(()),
        }
    }
}

fn path(text: &str, scope: Scope<'_>, at: &At, report: &mut Report) -> Option<Path> {
    if !text.starts_with(['/', '{']) {
        let diagnostic = Diagnostic::new(Code::E0108, "a rewritten path begins with `/`");
        let diagnostic = diagnostic.label(at, "this begins with neither a slash nor a placeholder");
        report.push(diagnostic.help("write the slash").patch(at, format!("{:?}", format!("/{text}"))));
        return None;
    }
    if text.contains(['?', '#']) {
        let diagnostic =
            Diagnostic::new(Code::E0108, "a rewrite is a path alone").label(at, "this has more than a path");
        report.push(diagnostic.help("change the query beside it: `query = { set = { … }, remove = […] }`"));
        return None;
    }
    Path::compile(text, scope, at, report)
}

#[cfg(test)]
mod tests;
