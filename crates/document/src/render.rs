//! The report as people read it, in the manner of rustc.

use std::{collections::HashSet, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level as Grade, Patch, Renderer, Snippet};

use crate::{Diagnostic, Document, Level, Place, Report};

/// A label, found in its file.
struct Mark<'d> {
    file: &'d str,
    text: &'d str,
    span: Range<usize>,
    label: String,
    kind: AnnotationKind,
}

impl Document {
    /// All diagnostics as text, in the order of the files, a blank line between them.
    pub fn render(&self, report: &Report, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for diagnostic in self.sorted(report) {
            text.push_str(&self.render_one(diagnostic, &renderer));
            text.push_str("\n\n");
        }
        text.truncate(text.trim_end().len());
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }

    /// The diagnostics in the order of the places that they are about. What is said twice of the same place is kept
    /// once: a mistake in what many routes inherit is one mistake.
    pub fn sorted<'r>(&self, report: &'r Report) -> Vec<&'r Diagnostic> {
        let mut said = HashSet::new();
        let mut sorted: Vec<_> = report.diagnostics().iter().collect();
        sorted.retain(|diagnostic| {
            let places: Vec<_> =
                diagnostic.labels.iter().map(|label| (self.place(&label.place), label.text.as_str())).collect();
            places.is_empty() || said.insert((diagnostic.code, places))
        });
        sorted.sort_by_cached_key(|diagnostic| {
            diagnostic.labels.first().map_or((0, 0), |label| {
                let span = self.place(&label.place);
                (span.start, span.end)
            })
        });
        sorted
    }

    /// Global byte positions of a place.
    pub fn place(&self, place: &Place) -> Range<usize> {
        match place {
            Place::At(at) => self.span(at),
            Place::Span(span) => span.clone(),
        }
    }

    fn render_one(&self, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
        let grade = match diagnostic.level() {
            Level::Error => Grade::ERROR,
            Level::Warning => Grade::WARNING,
        };
        let mut group =
            Group::with_title(grade.primary_title(self.redact(&diagnostic.message)).id(diagnostic.code.as_str()));
        for snippet in snippets(self.marks(diagnostic)) {
            group = group.element(snippet);
        }
        for note in &diagnostic.notes {
            group = group.element(Grade::NOTE.message(self.redact(note)));
        }
        let patch = diagnostic.patch.as_ref().and_then(|patch| {
            let (file, span) = self.sources.locate(&self.place(&patch.place))?;
            let snippet = Snippet::source(file.text.as_str()).path(file.name.as_str());
            Some(snippet.patch(Patch::new(span, patch.replacement.as_str())))
        });
        let help = diagnostic.help.as_ref().map(|help| self.redact(help));
        match (patch, help) {
            (Some(patch), help) => {
                let title = help.unwrap_or_else(|| "write instead".into());
                renderer.render(&[group, Grade::HELP.secondary_title(title).element(patch)])
            }
            (None, Some(help)) => renderer.render(&[group.element(Grade::HELP.message(help))]),
            (None, None) => renderer.render(&[group]),
        }
    }

    fn marks(&self, diagnostic: &Diagnostic) -> Vec<Mark<'_>> {
        let mut marks = Vec::new();
        for (index, label) in diagnostic.labels.iter().enumerate() {
            if let Some((file, span)) = self.sources.locate(&self.place(&label.place)) {
                let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
                marks.push(Mark { file: &file.name, text: &file.text, span, label: self.redact(&label.text), kind });
            }
        }
        marks
    }
}

/// One snippet for each file, that of the first label first.
fn snippets(marks: Vec<Mark<'_>>) -> Vec<Snippet<'_, annotate_snippets::Annotation<'_>>> {
    let mut files: Vec<(&str, Snippet<'_, _>)> = Vec::new();
    for mark in marks {
        let label = (!mark.label.is_empty()).then_some(mark.label);
        let annotation = mark.kind.span(mark.span).label(label);
        match files.iter().position(|(file, _)| *file == mark.file) {
            Some(index) => {
                let (file, snippet) = files.remove(index);
                files.insert(index, (file, snippet.annotation(annotation)));
            }
            None => {
                files.push((mark.file, Snippet::source(mark.text).path(mark.file).annotation(annotation)));
            }
        }
    }
    files.into_iter().map(|(_, snippet)| snippet).collect()
}

#[cfg(test)]
mod tests;
