//! The file in its usual form: same meaning, same comments, even spacing.

use std::path::Path;

use document::{
    Document, Report,
    tree::{Node, Table, Value},
};

use crate::Loaded;

/// Formats a file: one blank line before each table, no other two in a row; `=` in one column among the lines that stand
/// together; no blanks at the ends of lines or before them. What stands inside a list or a long string is left as it is.
/// Formatting twice changes nothing more, and the values never change.
///
/// # Errors
///
/// A text that is not TOML comes back as a report that says why.
pub fn fmt(name: &str, text: &str) -> Result<String, Box<Loaded>> {
    let (mut document, mut report) = (Document::new(), Report::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let tree = document.read(name, text, &mut report);
    if report.has_errors() {
        return Err(Box::new(Loaded { document, config: None, report, files: vec![Path::new(name).into()] }));
    }
    let formatted = join(&lines(text, &tree));
    // Never trade meaning for looks.
    let same = formatted.parse::<toml::Table>().ok() == text.parse::<toml::Table>().ok();
    Ok(if same { formatted } else { text.into() })
}

/// A line of the file, by what it is.
enum Line {
    Blank,
    Comment(String),
    Header(String),
    /// `key = value  # comment`; whether the value ends on this line.
    Entry {
        key: String,
        value: String,
        whole: bool,
    },
    /// Inside a value of several lines: as it is.
    Inside(String),
}

/// A value's place: bytes from and to, and whether blanks at line ends are its own.
struct Span {
    start: usize,
    end: usize,
    is_text: bool,
}

fn lines(text: &str, tree: &Table) -> Vec<Line> {
    let mut spans = Vec::new();
    for entry in &tree.entries {
        collect(&entry.node, text, &mut spans);
    }
    spans.sort_by_key(|span| (span.start, usize::MAX - span.end));
    let texts: Vec<&Span> = spans.iter().filter(|span| span.is_text).collect();
    let (mut lines, mut start, mut first, mut inside_to) = (Vec::new(), 0, 0, 0);
    for raw in text.split('\n') {
        let end = start + raw.len();
        while spans.get(first).is_some_and(|span| span.start < start) {
            first += 1;
        }
        let value = spans.get(first).filter(|span| span.start <= end);
        if start < inside_to {
            lines.push(Line::Inside(trim_end(raw, end, &texts).into()));
        } else {
            lines.push(line(raw, start, value, &texts));
        }
        if let Some(value) = value.filter(|_| start >= inside_to) {
            inside_to = value.end;
        }
        start = end + 1;
    }
    lines
}

fn collect(node: &Node, text: &str, spans: &mut Vec<Span>) {
    let Some(written) = text.get(node.span.clone()) else { return };
    match &node.value {
        Value::Table(table) => {
            if written.starts_with('{') {
                spans.push(Span { start: node.span.start, end: node.span.end, is_text: false });
            }
            table.entries.iter().for_each(|entry| collect(&entry.node, text, spans));
        }
        Value::List(list) => {
            // The list of `[[tables]]` has the span of a header; only its elements are values.
            if written.starts_with('[') && !written.starts_with("[[")
                || list.iter().all(|node| node.as_table().is_none())
            {
                spans.push(Span { start: node.span.start, end: node.span.end, is_text: false });
            }
            list.iter().for_each(|node| collect(node, text, spans));
        }
        value => {
            let is_text = matches!(value, Value::String(_));
            spans.push(Span { start: node.span.start, end: node.span.end, is_text });
        }
    }
}

/// The line without blanks at its end, unless they belong to a text that goes on.
fn trim_end<'t>(raw: &'t str, end: usize, texts: &[&Span]) -> &'t str {
    let index = texts.partition_point(|text| text.start < end);
    let goes_on = index.checked_sub(1).is_some_and(|index| texts[index].end > end);
    if goes_on { raw } else { raw.trim_end() }
}

fn line(raw: &str, start: usize, value: Option<&Span>, texts: &[&Span]) -> Line {
    let trimmed = raw.trim();
    if trimmed.is_empty() {
        return Line::Blank;
    }
    if trimmed.starts_with('#') {
        return Line::Comment(trimmed.into());
    }
    let split = value.and_then(|value| {
        let before = &raw[..value.start - start];
        before.rfind('=').map(|equals| (value, raw[..equals].trim()))
    });
    let Some((value, key)) = split.filter(|_| !trimmed.starts_with("[[")) else { return Line::Header(trimmed.into()) };
    let end = start + raw.len();
    let rest = &raw[value.start - start..];
    if value.end > end {
        return Line::Entry { key: key.into(), value: trim_end(rest, end, texts).into(), whole: false };
    }
    let (value, tail) = rest.split_at(value.end - value.start);
    let comment = tail.trim();
    let gap = &tail[..tail.len() - tail.trim_start().len()];
    let gap = if gap.is_empty() && !comment.is_empty() { " " } else { gap };
    let value = if comment.is_empty() { value.into() } else { format!("{value}{gap}{comment}") };
    Line::Entry { key: key.into(), value, whole: true }
}

fn join(lines: &[Line]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        if begins_table(lines, index) && !text.is_empty() && !text.ends_with("\n\n") {
            text.push('\n');
        }
        match line {
            Line::Blank if text.is_empty() || text.ends_with("\n\n") => continue,
            Line::Blank => {}
            Line::Comment(line) | Line::Header(line) | Line::Inside(line) => text.push_str(line),
            Line::Entry { key, value, .. } => {
                text.push_str(key);
                let width = width(lines, index).saturating_sub(key.chars().count());
                text.extend(std::iter::repeat_n(' ', width));
                text.push_str(" = ");
                text.push_str(value);
            }
        }
        text.push('\n');
    }
    text.truncate(text.trim_end_matches('\n').len());
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// Whether a table begins here: its header, or the first of the comments right above it.
fn begins_table(lines: &[Line], index: usize) -> bool {
    let comment_before = index.checked_sub(1).is_some_and(|before| matches!(lines[before], Line::Comment(_)));
    if comment_before {
        return false;
    }
    let rest = lines[index..].iter().find(|line| !matches!(line, Line::Comment(_)));
    matches!(rest, Some(Line::Header(_)))
}

/// The longest key among the lines that stand together with this one.
fn width(lines: &[Line], index: usize) -> usize {
    let key = |line: &Line| match line {
        Line::Entry { key, whole: true, .. } => Some(key.chars().count()),
        _ => None,
    };
    let before = lines[..index].iter().rev().map_while(key);
    let after = lines[index..].iter().map_while(key);
    before.chain(after).max().filter(|_| key(&lines[index]).is_some()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
