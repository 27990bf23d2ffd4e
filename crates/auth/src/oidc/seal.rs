//! What browsers keep for us and can neither read nor change: AES-256-GCM-SIV (RFC 8452), which forgives a repeated nonce.

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, Salt},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

/// Keys that differ by policy, provider and client: what one has sealed no other opens.
pub(crate) struct Seal {
    /// The first one seals; all of them open, so that a secret can be exchanged for another.
    keys: Box<[RandomizedNonceKey]>,
}

/// What something is sealed for: a login is no session.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Login,
    Session,
}

impl Seal {
    /// Keys made of `secrets`, bound to `owner`.
    pub(crate) fn new<'s>(secrets: impl Iterator<Item = &'s str>, owner: &str) -> Option<Self> {
        let salt = Salt::new(HKDF_SHA256, b"maitred oidc");
        let key = |secret: &str| {
            let mut bytes = [0; 32];
            salt.extract(secret.as_bytes()).expand(&[owner.as_bytes()], HKDF_SHA256).ok()?.fill(&mut bytes).ok()?;
            RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes).ok()
        };
        let keys: Option<Box<[_]>> = secrets.map(key).collect();
        keys.filter(|keys| !keys.is_empty()).map(|keys| Self { keys })
    }

    /// Text that stands for `value`.
    pub(crate) fn close(&self, purpose: Purpose, value: &impl Serialize) -> Option<String> {
        let mut bytes = serde_json::to_vec(value).ok()?;
        let nonce = self.keys.first()?.seal_in_place_append_tag(purpose.aad(), &mut bytes).ok()?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut bytes);
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The value that `text` stands for, where it was sealed here.
    pub(crate) fn open<T: DeserializeOwned>(&self, purpose: Purpose, text: &str) -> Option<T> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, content) = sealed.split_at_checked(NONCE_LEN)?;
        self.keys.iter().find_map(|key| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut content = content.to_vec();
            let opened = key.open_in_place(nonce, purpose.aad(), &mut content).ok()?;
            serde_json::from_slice(opened).ok()
        })
    }
}

impl Purpose {
    fn aad(self) -> Aad<&'static [u8]> {
        Aad::from(match self {
            Self::Login => b"login".as_slice(),
            Self::Session => b"session".as_slice(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_opens_it_and_an_old_secret_still_does() {
        let seal = |secrets: &[&str], owner: &str| Seal::new(secrets.iter().copied(), owner).unwrap();
        let own = seal(&["one"], "a");
        let text = own.close(Purpose::Session, &"hello").unwrap();
        let open = |seal: &Seal, purpose, text: &str| seal.open::<String>(purpose, text);
        assert_eq!(open(&own, Purpose::Session, &text).as_deref(), Some("hello"));
        assert_eq!(open(&seal(&["two", "one"], "a"), Purpose::Session, &text).as_deref(), Some("hello"));
        assert_eq!(open(&seal(&["two"], "a"), Purpose::Session, &text), None);
        assert_eq!(open(&seal(&["one"], "b"), Purpose::Session, &text), None);
        assert_eq!(open(&own, Purpose::Login, &text), None);
        assert_ne!(own.close(Purpose::Session, &"hello").unwrap(), text, "a nonce of its own each time");
        for index in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last letter has bits that stand for nothing; to change those makes it no text at all.
            assert_eq!(open(&own, Purpose::Session, &changed), None, "{index}");
        }
        for cut in [0, 1, 16, text.len() - 1] {
            assert_eq!(open(&own, Purpose::Session, &text[..cut]), None, "{cut}");
        }
    }
}
