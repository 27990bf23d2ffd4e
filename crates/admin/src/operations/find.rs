//! Which operation a method and a path ask for.

use http::Method;

use super::{OPERATIONS, Operation, Run, Verb};

/// What stands for the braces of a path, of which there are at most two.
pub(crate) type Names = [String; 2];

/// What a path leads to.
pub(crate) enum Found {
    /// This operation, with what stands for its braces.
    Operation(&'static Operation, Names),
    /// Operations with other methods, which are these.
    OtherMethods(String),
    Nothing,
}

/// Finds the operation for a method and a path.
pub(crate) fn find(method: &Method, path: &str) -> Found {
    let mut others: Vec<&str> = Vec::new();
    for operation in OPERATIONS {
        let Some(names) = matched(operation.path, path) else { continue };
        let endless = matches!(operation.run, Run::Follow(_)) && *method == Method::HEAD;
        if operation.verb.takes(method) && !endless {
            return Found::Operation(operation, names);
        }
        others.push(operation.verb.as_str());
        others.extend((operation.verb == Verb::Get).then_some("HEAD"));
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others.join(", ")) }
}

/// Whether `path` fits `pattern`, and what stands for the braces, decoded.
pub(super) fn matched(pattern: &str, path: &str) -> Option<Names> {
    let (mut wanted, mut given, mut names) = (pattern.split('/'), path.split('/'), Names::default());
    let mut count = 0;
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(names),
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {
                *names.get_mut(count)? = percent_encoding::percent_decode_str(given).decode_utf8().ok()?.into_owned();
                count += 1;
            }
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return None,
        }
    }
}
