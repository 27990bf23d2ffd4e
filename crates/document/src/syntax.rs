//! What is not TOML, in words; what only follows from an earlier mistake is left out.

use std::ops::Range;

use crate::{Code, Diagnostic, Report, tree::Table};

/// Reports the parser's errors, each a message and a span of `text`, whose first byte has the global position `base`.
pub(crate) fn report(
    tree: &Table,
    mut errors: Vec<(String, Range<usize>)>,
    text: &str,
    base: usize,
    report: &mut Report,
) {
    errors.sort_by_key(|(_, span)| span.start);
    errors.retain(|(_, span)| text.is_char_boundary(span.start.min(text.len())));
    let line = |offset: usize| text.as_bytes()[..offset.min(text.len())].iter().filter(|&&byte| byte == b'\n').count();
    let mut reported = None;
    let mut header_twice = None;
    for (message, span) in errors {
        // The first error of a line explains the others, and a table defined twice explains its keys.
        let header = header_above(text, span.start);
        if reported == Some(line(span.start)) || (header.is_some() && header == header_twice) {
            continue;
        }
        reported = Some(line(span.start));
        if message == "duplicate key" && header.as_ref().is_some_and(|header| header.contains(&span.start)) {
            header_twice = header;
        }
        let place = span.start + base..span.end + base;
        if message.starts_with("unexpected `=` in") || unclosed(&message, &span, text) {
            let open = Diagnostic::new(Code::E0001, "a list or table in brackets is not closed");
            report.push(open.label(place, "read as a part of it").help("add the missing bracket above this line"));
            // Whatever follows is read in the wrong light.
            return;
        }
        report.push(match &message[..] {
            "duplicate key" => duplicate(tree, place, text, base),
            _ => plain(&message, place, &text[span.start.min(text.len())..]),
        });
    }
}

/// Whether a missing comma is rather a missing bracket: the next thing looks like `key =` or `[table]`.
fn unclosed(message: &str, span: &Range<usize>, text: &str) -> bool {
    if message.starts_with("unclosed array") || message.starts_with("unclosed inline table") {
        return true;
    }
    let rest = text.get(span.start..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let starts_line = text[..span.start.min(text.len())].rsplit('\n').next().is_some_and(|head| head.trim().is_empty());
    let key = line.split('=').next().unwrap_or_default().trim();
    let assigns = line.contains('=') && !key.is_empty() && !key.starts_with(['{', '[', '"']);
    message.starts_with("missing comma") && starts_line && (assigns || line.starts_with('['))
}

fn plain(message: &str, place: Range<usize>, rest: &str) -> Diagnostic {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let nothing = rest.is_empty() || rest.starts_with(['\r', '\n', '#']);
    if what == "string values must be quoted" && nothing {
        return Diagnostic::new(Code::E0001, "a value is missing").label(place, "expected a value");
    }
    let label = match expected {
        "" => String::new(),
        "literal string" => "write it in quotes".into(),
        expected => format!("expected {expected}"),
    };
    Diagnostic::new(Code::E0001, what).label(place, label)
}

fn duplicate(tree: &Table, place: Range<usize>, text: &str, base: usize) -> Diagnostic {
    let key = text.get(place.start - base..place.end - base).unwrap_or_default();
    let key = key.trim_matches(['"', '\'']);
    let mut places = Vec::new();
    key_places(tree, key, &mut places);
    places.retain(|first| first.end <= place.start);
    if places.is_empty() {
        places.extend(same_header(text, place.start - base).map(|start| start + base..start + base + place.len()));
    }
    let twice = Diagnostic::new(Code::E0202, format!("`{key}` is defined twice")).label(place, "defined again here");
    // The parser does not say where the first one is; a guess between several would mislead.
    match &places[..] {
        [first] => twice.label(first.clone(), "first defined here"),
        _ => twice,
    }
}

/// The line of the table header that an offset belongs to, its own line included.
fn header_above(text: &str, offset: usize) -> Option<Range<usize>> {
    let mut end = text[offset..].find('\n').map_or(text.len(), |newline| offset + newline);
    loop {
        let start = text[..end].rfind('\n').map_or(0, |newline| newline + 1);
        if text[start..end].trim_start().starts_with('[') {
            return Some(start..end);
        }
        end = start.checked_sub(1)?;
    }
}

/// Where the key at `offset`, in a table header, stands in an earlier header that reads the same.
fn same_header(text: &str, offset: usize) -> Option<usize> {
    let header = header_above(text, offset).filter(|header| header.contains(&offset))?;
    let line = &text[header.clone()];
    let earlier = text[..header.start].lines().find(|other| other.trim_end() == line.trim_end())?;
    Some(earlier.as_ptr() as usize - text.as_ptr() as usize + offset - header.start)
}

fn key_places(table: &Table, key: &str, places: &mut Vec<Range<usize>>) {
    for entry in &table.entries {
        if entry.key == key {
            places.push(entry.key_span.clone());
        }
        if let Some(below) = entry.node.as_table() {
            key_places(below, key, places);
        }
    }
}
