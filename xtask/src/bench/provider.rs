//! The provider of OpenID Connect at which `login` logs in: files of the origin's, and a browser that knows what is in them.

use std::{fs, path::Path, process::Command};

use super::caller;
use crate::shell::{self, Failure, because};

/// What the origin's files of the provider begin with.
const PLACE: &str = "provider";
/// The policy whose cookies the browser keeps.
pub(crate) const POLICY: &str = "people";

/// The issuer, given the first port of the origin.
pub(crate) fn issuer(port: u16) -> String {
    format!("http://127.0.0.1:{port}/{PLACE}")
}

/// What nginx is told. A file is no answer to POST, for nginx, but for those who ask for a token.
pub(super) fn location() -> String {
    format!("location /{PLACE}/ {{ default_type application/json; error_page 405 =200 $uri; }}")
}

/// Writes what the provider says of itself into the origin's folder.
pub(super) fn publish(folder: &Path, port: u16, ground: &Path) -> Result<(), Failure> {
    let (place, issuer) = (folder.join(PLACE), issuer(port));
    let known = place.join(".well-known");
    fs::create_dir_all(&known).map_err(because("cannot make the provider's folder"))?;
    let about = format!(
        r#"{{"issuer":"{issuer}","jwks_uri":"{issuer}/keys","authorization_endpoint":"{issuer}/authorize","token_endpoint":"{issuer}/token"}}"#
    );
    let files = [(known.join("openid-configuration"), about), (place.join("keys"), caller::key_set(ground)?)];
    files.into_iter().try_for_each(|(file, text)| fs::write(file, text)).map_err(because("cannot write the provider"))
}

/// Logs in at the route of `proxy` as a browser does, and gives back the cookie of the session. `port` is the origin's first.
pub(super) fn log_in(proxy: u16, path: &str, port: u16, ground: &Path) -> Result<String, Failure> {
    let url = |target: &str| format!("http://127.0.0.1:{proxy}{target}");
    let sent = head(&url(path), "Accept: text/html")?;
    let lost = || Failure::new(format!("a page that asks for a login is answered\n{sent}"));
    let to = field(&sent, "location").next().ok_or_else(lost)?;
    let (state, nonce) = (parameter(to, "state").ok_or_else(lost)?, parameter(to, "nonce").ok_or_else(lost)?);
    let login = cookie(&sent, &format!("__Host-maitred-{POLICY}.login-")).ok_or_else(lost)?;
    let claims = format!(
        r#"{{"iss":"{}","aud":"bench","sub":"bench","nonce":"{nonce}","iat":1700000000,"exp":4900000000}}"#,
        issuer(port)
    );
    let token = caller::sign(ground, &claims)?;
    let given = format!(r#"{{"access_token":"a","token_type":"Bearer","id_token":"{token}"}}"#);
    fs::write(ground.join("origin").join(PLACE).join("token"), given).map_err(because("cannot write the ID token"))?;
    let back = head(&url(&format!("/oauth2/callback?code=bench&state={state}")), &format!("Cookie: {login}"))?;
    let session = cookie(&back, &format!("__Host-maitred-{POLICY}="));
    session.map(str::to_owned).ok_or_else(|| Failure::new(format!("a login comes to nothing\n{back}")))
}

/// The head of an answer.
fn head(url: &str, sent: &str) -> Result<String, Failure> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "10", "--dump-header", "-", "--output", "/dev/null"]);
    let said = shell::output(curl.args(["--header", sent, url]))?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// The values of the fields of that name, which is in lower case.
fn field<'h>(head: &'h str, wanted: &'h str) -> impl Iterator<Item = &'h str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.filter(move |(name, _)| name.to_ascii_lowercase() == wanted).map(|(_, value)| value.trim())
}

/// The cookie that begins so, with its value.
fn cookie<'h>(head: &'h str, start: &str) -> Option<&'h str> {
    field(head, "set-cookie").find(|cookie| cookie.starts_with(start))?.split(';').next()
}

/// A parameter of a URL. Those that are looked for need no decoding.
fn parameter<'u>(url: &'u str, wanted: &str) -> Option<&'u str> {
    let pairs = url.split_once('?')?.1.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_finds_what_it_needs() {
        let head = "HTTP/1.1 302 Found\r\nLocation: http://a/authorize?scope=openid+email&state=s-1&nonce=n_2\r\n\
                    Set-Cookie: a=1; Path=/\r\nset-cookie: b.login-s=2; Path=/; Secure\r\n\r\n";
        let to = field(head, "location").next().unwrap();
        assert_eq!(
            (parameter(to, "state"), parameter(to, "nonce"), parameter(to, "code")),
            (Some("s-1"), Some("n_2"), None)
        );
        assert_eq!((cookie(head, "b.login-"), cookie(head, "b=")), (Some("b.login-s=2"), None));
    }
}
