//! What backends are shown so that they let maitred in. Nothing here is ever printed.

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue};
use pingora_http::RequestHeader;

use crate::token::Token;

/// What an upstream is shown.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) header: HeaderName,
    pub(crate) value: Value,
}

#[derive(Clone)]
pub(crate) enum Value {
    /// The same for as long as the configuration lives.
    Fixed(HeaderValue),
    /// A token that an issuer has given out.
    Token(Arc<Token>),
}

impl Credentials {
    /// The field that carries them.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Waits until there is something to show; whether there is.
    pub async fn ready(&self) -> bool {
        match &self.value {
            Value::Fixed(_) => true,
            Value::Token(token) => token.ready().await,
        }
    }

    /// Writes them into a head, in the place of whatever the client has sent. Whether there is something to write.
    pub fn show(&self, head: &mut RequestHeader) -> bool {
        let value = match &self.value {
            Value::Fixed(value) => Some(value.clone()),
            Value::Token(token) => token.value(),
        };
        value.is_some_and(|value| head.insert_header(self.header.clone(), value).is_ok())
    }

    /// A backend does not take them: another token may be better.
    pub fn spurned(&self) {
        if let Value::Token(token) = &self.value {
            token.spurned();
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.header)
    }
}
