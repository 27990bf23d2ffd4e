//! A request as somebody types it: `GET https://api.example.com/orders?x=1`.

use filter::Scheme;
use http::{HeaderName, HeaderValue, Method, header, uri::Authority};
use pingora_http::RequestHeader;

/// What is asked for, and of whom as far as that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The scheme, where a URL names it.
    pub scheme: Option<Scheme>,
    /// The host and perhaps a port; `None` for a path alone.
    pub authority: Option<Box<str>>,
    /// Path and query.
    pub target: Box<str>,
}

/// Why a text is no request, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, in a few words.
    pub problem: String,
    /// How to mend it.
    pub help: String,
}

impl Mistake {
    fn new(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { problem: problem.into(), help: help.into() }
    }
}

impl Request {
    /// Reads `METHOD URL`, or a URL alone for GET. In place of a URL a path may stand, or a host and a path.
    ///
    /// # Errors
    ///
    /// Fails with what is wrong when the text is neither.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (method, url) = match words[..] {
            [url] => ("GET", url),
            [method, url] => (method, url),
            [] => return Err(Mistake::new("nothing is asked for", "write `GET /path`")),
            _ => {
                return Err(Mistake::new(
                    "more than a method and a URL",
                    "write `GET /path`; a space within the URL is `%20`",
                ));
            }
        };
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .map_err(|_| Mistake::new(format!("`{method}` is no method"), "write for example `GET /path`"))?;
        let (scheme, authority, target) = parts(url)?;
        if let Some(authority) = authority {
            check_authority(authority)?;
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let request = Self { method, scheme, authority: authority.map(Into::into), target: target.into() };
        request.check_target()?;
        Ok(request)
    }

    /// The host that the URL names, without its port.
    pub fn host(&self) -> Option<&str> {
        let authority = self.authority.as_deref()?;
        match authority.rfind(':') {
            Some(colon) if !authority[colon..].contains(']') => Some(&authority[..colon]),
            _ => Some(authority),
        }
    }

    /// The port that the URL names.
    pub fn port(&self) -> Option<u16> {
        self.authority.as_ref()?.parse::<Authority>().ok()?.port_u16()
    }

    /// The head that HTTP/1.1 would bring, with `host` where neither the URL nor `fields` name one.
    pub fn head(&self, host: &str, fields: &[(HeaderName, HeaderValue)]) -> Option<RequestHeader> {
        let mut head = RequestHeader::build(self.method.clone(), self.target.as_bytes(), None).ok()?;
        if !fields.iter().any(|(name, _)| *name == header::HOST) {
            head.insert_header(header::HOST, self.authority.as_deref().unwrap_or(host)).ok()?;
        }
        for (name, value) in fields {
            head.append_header(name.clone(), value.clone()).ok()?;
        }
        Some(head)
    }

    fn check_target(&self) -> Result<(), Mistake> {
        let target = &*self.target;
        if target.contains('#') {
            return Err(Mistake::new("a request carries no fragment", "leave out what follows the `#`"));
        }
        if let Some(odd) = target.chars().find(|letter| !letter.is_ascii_graphic()) {
            let encoded: String = odd.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
            let problem = format!("{odd:?} cannot stand in a URL");
            return Err(Mistake::new(problem, format!("write it as `{encoded}`")));
        }
        match RequestHeader::build(self.method.clone(), target.as_bytes(), None) {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(Mistake::new("this cannot be asked for", "percent-encode what may not stand in a path or query"))
            }
        }
    }
}

type Parts<'t> = (Option<Scheme>, Option<&'t str>, &'t str);

fn parts(url: &str) -> Result<Parts<'_>, Mistake> {
    if let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?'])) {
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => {
                let problem = format!("requests come by http and https, not by `{other}`");
                return Err(Mistake::new(problem, format!("write `http://{rest}`")));
            }
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        return Ok((Some(scheme), Some(authority), target));
    }
    match url.find('/') {
        Some(0) => Ok((None, None, url)),
        Some(slash) => Ok((None, Some(&url[..slash]), &url[slash..])),
        None => Err(Mistake::new("neither a URL nor a path", format!("a path begins with a slash: `/{url}`"))),
    }
}

fn check_authority(authority: &str) -> Result<(), Mistake> {
    if let Some((_, host)) = authority.rsplit_once('@') {
        let help = format!("write `{host}`, and credentials under `headers`");
        return Err(Mistake::new("browsers and clients send no user name within a URL", help));
    }
    let parsed = authority.parse::<Authority>().ok().filter(|parsed| !parsed.host().is_empty());
    let after = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
    let port_is_one = after.split_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok());
    match parsed {
        Some(_) if port_is_one => Ok(()),
        _ => Err(Mistake::new(
            format!("`{authority}` is no host"),
            "write for example `https://api.example.com/path`, or the path alone",
        )),
    }
}

#[cfg(test)]
mod tests;
