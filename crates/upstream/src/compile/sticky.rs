//! How clients are kept at one backend, with every mistake reported.

use document::{At, Code, Diagnostic, Report};

use crate::{
    config::{self, SameSite},
    key::is_cookie_name,
    state::State,
    sticky::Sticky,
};

/// Fewer bytes than these can be guessed.
const SHORTEST_SECRET: usize = 16;

/// `None` where anything is wrong.
pub(super) fn sticky(written: &config::Sticky, at: &At, state: &State, report: &mut Report) -> Option<Sticky> {
    let key = |key: &str| if written.is_table { at.key(key) } else { at.clone() };
    let errors = report.errors();
    let cookie = written.cookie.as_deref();
    match cookie {
        Some(name) if is_cookie_name(name) => {}
        Some(name) => {
            report.add(
                Code::E0108,
                &key("cookie"),
                format!("`{name}` is not the name of a cookie"),
                "letters and digits",
            );
        }
        None => report.push(
            Diagnostic::new(Code::E0106, "`sticky` does not name its cookie")
                .label(at, "`cookie` is missing")
                .help("write `sticky = \"cookie:backend\"`"),
        ),
    }
    let path = written.path.as_deref().unwrap_or("/");
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
        let message = format!("`{path}` is not a path that a cookie can be for");
        report.add(Code::E0108, &key("path"), message, "it begins with `/`, and has neither `;` nor spaces");
    }
    if written.max_age.is_some_and(|age| age.0.as_secs() == 0) {
        let label = "browsers would forget it at once";
        report.add(Code::E0103, &key("max_age"), "`max_age` is at least a second", label);
    }
    let secret = written.secret.as_ref().map(document::Secret::expose);
    if secret.is_some_and(|secret| secret.len() < SHORTEST_SECRET) {
        let message = format!("the `secret` is shorter than {SHORTEST_SECRET} bytes");
        report.add(Code::E0103, &key("secret"), message, "it could be guessed");
    }
    let Some(key) = secret.map(|secret| secret.as_bytes().to_vec()).or_else(|| Some(state.sticky_key()?.to_vec()))
    else {
        report.add(Code::E0108, at, "the system gives no random numbers", "cookies cannot be signed without a key");
        return None;
    };
    if report.errors() > errors {
        return None;
    }
    let age = written.max_age.map(|age| format!("; Max-Age={}", age.0.as_secs())).unwrap_or_default();
    let site = match written.same_site.unwrap_or_default() {
        SameSite::Strict => "Strict",
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    };
    Some(Sticky::new(cookie?, &key, format!("; Path={path}{age}; HttpOnly; SameSite={site}")))
}
