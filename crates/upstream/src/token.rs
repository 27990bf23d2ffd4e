//! A token for all requests of an upstream, fetched before it is needed and again before it ends.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use document::Secret;
use fetch::{Ask, Client, Service};
use http::{HeaderValue, Method, StatusCode, header};

/// How long a token is used of which the issuer does not say when it ends.
const ASSUMED: Duration = Duration::from_secs(300);
/// How long before its end a token is no longer shown: it has to last to the backend.
const MARGIN: Duration = Duration::from_secs(5);
/// How long before its end the next one is asked for, where it lasts long enough for that.
const AHEAD: Duration = Duration::from_secs(30);
/// How soon the issuer is asked again after it could not give one.
const RETRY: Duration = Duration::from_secs(1);
/// How soon a token that a backend does not take is exchanged for another: the fault may be the backend's.
const RENEWAL: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const MOST: usize = 64 * 1024;

/// Who gives out the token, to whom and for what. Two upstreams that agree in all of it share the token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) service: Service,
    pub(crate) id: Box<str>,
    pub(crate) secret: Secret,
    pub(crate) scope: Option<Box<str>>,
    pub(crate) audience: Option<Box<str>>,
}

impl Source {
    /// What the issuer is asked (section 4.4.2).
    fn form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        form.extend_pairs(self.scope.iter().map(|scope| ("scope", scope)));
        form.extend_pairs(self.audience.iter().map(|audience| ("audience", audience)));
        form.finish()
    }
}

impl Hash for Source {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // The secret tells no two apart that the rest does not, but for one that was changed.
        (&self.service, &self.id, &self.scope, &self.audience).hash(hasher);
    }
}

/// A token, as it is now.
pub(crate) struct Token {
    source: Source,
    client: Client,
    held: ArcSwapOption<Held>,
    /// One at a time asks; the others wait for what it brings.
    turn: tokio::sync::Mutex<()>,
    /// Whether somebody asks in the background.
    renewing: AtomicBool,
    began: Instant,
    /// When the issuer was last asked in vain, and when a backend last did not take a token: milliseconds since then.
    failed: AtomicU64,
    spurned: AtomicU64,
}

struct Held {
    value: HeaderValue,
    /// When the next one is asked for.
    renew: Instant,
    until: Instant,
}

impl Token {
    pub(crate) fn new(source: Source, client: Client) -> Self {
        Self {
            source,
            client,
            held: ArcSwapOption::empty(),
            turn: tokio::sync::Mutex::default(),
            renewing: AtomicBool::new(false),
            began: Instant::now(),
            failed: AtomicU64::new(0),
            spurned: AtomicU64::new(0),
        }
    }

    /// The value to show. What was shown last stays until there is another one: a backend may take it.
    pub(crate) fn value(&self) -> Option<HeaderValue> {
        self.held.load().as_ref().map(|held| held.value.clone())
    }

    /// Waits for a token where there is none that lasts; whether there is one.
    pub(crate) async fn ready(self: &Arc<Self>) -> bool {
        let now = Instant::now();
        match &*self.held.load() {
            Some(held) if now < held.renew => return true,
            Some(held) if now < held.until => {
                self.renew();
                return true;
            }
            _ => {}
        }
        Box::pin(self.fetch(now)).await;
        self.held.load().as_ref().is_some_and(|held| Instant::now() < held.until)
    }

    /// A backend does not take the token.
    pub(crate) fn spurned(self: &Arc<Self>) {
        let (now, last) = (self.millis(), self.spurned.load(Relaxed));
        let lately = last != 0 && now - last < RENEWAL.as_millis() as u64;
        if !lately && self.spurned.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            self.renew();
        }
    }

    /// Asks for another one in the background.
    fn renew(self: &Arc<Self>) {
        if self.renewing.swap(true, Relaxed) {
            return;
        }
        let token = self.clone();
        tokio::spawn(async move {
            token.fetch(Instant::now()).await;
            token.renewing.store(false, Relaxed);
        });
    }

    /// Asks, unless somebody has since `began`, or the issuer could not give one a moment ago.
    async fn fetch(&self, began: Instant) {
        let seen = self.held.load_full();
        let _turn = self.turn.lock().await;
        let same = match (&seen, &*self.held.load()) {
            (None, None) => true,
            (Some(seen), Some(held)) => Arc::ptr_eq(seen, held),
            _ => false,
        };
        let failed = self.failed.load(Relaxed);
        let vain = failed != 0 && self.millis() - failed < RETRY.as_millis() as u64;
        if !same || vain {
            return;
        }
        match self.ask().await {
            Ok((value, lasts)) => {
                let until = began + lasts.saturating_sub(MARGIN).max(Duration::from_secs(1));
                let renew = until - AHEAD.min(lasts / 4).min(until.saturating_duration_since(began));
                self.held.store(Some(Arc::new(Held { value, renew, until })));
            }
            Err(why) => {
                self.failed.store(self.millis().max(1), Relaxed);
                log::warn!("no token for an upstream can be had: {why}");
            }
        }
    }

    async fn ask(&self) -> Result<(HeaderValue, Duration), String> {
        let Source { service, id, secret, .. } = &self.source;
        let authorization = fetch::basic(id, secret.expose()).ok_or("its credentials cannot be written")?;
        let fields = vec![
            (header::AUTHORIZATION, authorization),
            (header::ACCEPT, HeaderValue::from_static("application/json")),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
        ];
        let ask = Ask { method: Method::POST, fields, content: self.source.form().into(), most: MOST };
        let answer = self.client.ask(service, &ask).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("{}: the answer is {}", service.url, answer.status.as_u16()));
        }
        read(&answer.content).map_err(|why| format!("{}: {why}", service.url))
    }

    fn millis(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }
}

/// Reads the issuer's answer (RFC 6749 section 5.1).
fn read(content: &[u8]) -> Result<(HeaderValue, Duration), &'static str> {
    let answer = fetch::object(content).ok_or("the answer is not JSON")?;
    let text = |name: &str| answer.get(name).and_then(|value| value.as_str());
    // A kind of token that we do not know cannot be shown (section 7.1).
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err("the answer has no token of the type Bearer");
    }
    let token = text("access_token").filter(|token| !token.is_empty()).ok_or("the answer has no token")?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| "the token cannot be shown")?;
    value.set_sensitive(true);
    let lasts = match answer.get("expires_in") {
        None => ASSUMED,
        // Some send the number as text.
        Some(lasts) => {
            let seconds = lasts.as_u64().or_else(|| lasts.as_str()?.parse().ok()).ok_or("`expires_in` is no number")?;
            Duration::from_secs(seconds.min(86_400))
        }
    };
    Ok((value, lasts))
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.source.service.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_for_what_it_says_and_nothing_else() {
        let good = read(br#"{"access_token":"t-1","token_type":"bearer","expires_in":"60"}"#).unwrap();
        assert_eq!(
            (good.0.to_str().unwrap(), good.1, good.0.is_sensitive()),
            ("Bearer t-1", Duration::from_secs(60), true)
        );
        assert_eq!(read(br#"{"access_token":"t","token_type":"Bearer"}"#).unwrap().1, ASSUMED);
        for wrong in [
            r#"{"access_token":"t","token_type":"mac"}"#,
            r#"{"access_token":"t"}"#,
            r#"{"access_token":"","token_type":"Bearer"}"#,
            r#"{"access_token":"a\nb","token_type":"Bearer"}"#,
            r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#,
            r#"{"access_token":"t","token_type":"Bearer","expires_in":"soon"}"#,
            "<html>",
        ] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
