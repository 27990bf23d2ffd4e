//! From security headers as written to security headers as sent.

use bytes::{Bytes, BytesMut};
use document::{At, Code, Diagnostic, Duration, Report, Toggle};
use filter::write_line;
use http::{HeaderName, HeaderValue};

use super::{Field, Frame, HstsConfig, Referrer, SecurityConfig, SecurityHeaders};

/// A year, which browsers' preload lists ask for.
const YEAR: Duration = Duration::seconds(365 * 24 * 60 * 60);

impl SecurityHeaders {
    /// Compiles the table at `at`, a route's `security_headers`. `None` when anything is wrong.
    pub fn compile(config: &SecurityConfig, at: &At, report: &mut Report) -> Option<Self> {
        let errors = report.errors();
        let table = &config.table;
        let mut fields = Vec::new();
        if table.nosniff != Some(false) {
            fields.extend(field("X-Content-Type-Options", "nosniff"));
        }
        let frame = setting(table.frame.as_ref(), Frame::Deny);
        fields.extend(frame.and_then(|frame| field("X-Frame-Options", frame.sent())));
        let csp = table.csp.as_deref().or_else(|| frame.map(ancestors));
        fields.extend(csp.and_then(|text| written("Content-Security-Policy", text, &at.key("csp"), report)));
        let referrer = setting(table.referrer.as_ref(), Referrer::StrictOriginWhenCrossOrigin);
        fields.extend(referrer.and_then(|policy| field("Referrer-Policy", policy.sent())));
        let permissions = table.permissions.as_deref();
        let at_permissions = at.key("permissions");
        fields.extend(permissions.and_then(|text| written("Permissions-Policy", text, &at_permissions, report)));
        fields.extend(table.coop.and_then(|policy| field("Cross-Origin-Opener-Policy", policy.sent())));
        fields.extend(table.coep.and_then(|policy| field("Cross-Origin-Embedder-Policy", policy.sent())));
        fields.extend(table.corp.and_then(|policy| field("Cross-Origin-Resource-Policy", policy.sent())));
        let hsts = match &table.hsts {
            Some(Toggle::Off) => None,
            Some(Toggle::On(hsts)) => self::hsts(hsts, &at.key("hsts"), report),
            None => self::hsts(&HstsConfig::default(), at, report),
        };
        let mut lines = BytesMut::new();
        fields.iter().for_each(|field: &Field| write_line(&mut lines, &field.written, field.value.as_bytes()));
        (report.errors() == errors).then(|| Self {
            fields: fields.into(),
            lines: (&*lines).into(),
            hsts,
            hide: table.hide != Some(false),
            replace: table.replace == Some(true),
        })
    }
}

/// A setting that has a default and can be switched off.
fn setting<T: Copy>(written: Option<&Toggle<T>>, default: T) -> Option<T> {
    match written {
        Some(Toggle::Off) => None,
        Some(Toggle::On(setting)) => Some(*setting),
        None => Some(default),
    }
}

/// What `X-Frame-Options` is called today.
fn ancestors(frame: Frame) -> &'static str {
    match frame {
        Frame::Deny => "frame-ancestors 'none'",
        Frame::SameOrigin => "frame-ancestors 'self'",
    }
}

fn hsts(config: &HstsConfig, at: &At, report: &mut Report) -> Option<Field> {
    let max_age = config.table.max_age.unwrap_or(YEAR);
    let subdomains = config.table.subdomains.unwrap_or(true);
    let preload = config.table.preload.unwrap_or(false);
    if preload && (!subdomains || max_age < YEAR) {
        let wrong = if subdomains { "max_age" } else { "subdomains" };
        report.push(
            Diagnostic::new(Code::E0107, "browsers preload only hosts with their subdomains, for a year or more")
                .label(at.key("preload"), "asked for here")
                .label(at.key(wrong), "which this forbids")
                .help("delete `preload`, or write `max_age = \"365d\"` and `subdomains = true`"),
        );
        return None;
    }
    let subdomains = if subdomains { "; includeSubDomains" } else { "" };
    let preload = if preload { "; preload" } else { "" };
    field("Strict-Transport-Security", &format!("max-age={}{subdomains}{preload}", max_age.0.as_secs()))
}

/// A field whose value the configuration writes out.
fn written(name: &'static str, text: &str, at: &At, report: &mut Report) -> Option<Field> {
    let value = text.trim();
    if value.is_empty() || value.bytes().any(|byte| !matches!(byte, b' '..=b'~')) {
        report.push(
            Diagnostic::new(Code::E0108, format!("this cannot be sent as `{name}`"))
                .label(at, "expected one line of ASCII text")
                .help("join the lines; policies are separated by `;` or `,`, not by line ends"),
        );
        return None;
    }
    field(name, value)
}

fn field(written: &'static str, value: &str) -> Option<Field> {
    let name = HeaderName::from_bytes(written.as_bytes()).ok()?;
    let value = HeaderValue::from_str(value).ok()?;
    Some(Field { name, written: Bytes::from_static(written.as_bytes()), value })
}
