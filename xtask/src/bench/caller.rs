//! Who asks, where a policy wants to know: an API key from maitred's own command, and a token that openssl has signed.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::scenario::Policy;
use crate::shell::{self, Failure, because};

/// What a caller of the bench shows.
#[derive(Debug)]
pub(crate) struct Caller {
    key: String,
    token: String,
}

impl Caller {
    /// Makes key and token, and beside the certificate what maitred needs to know them.
    pub(super) fn prepare(maitred: &Path, folder: &Path) -> Result<Self, Failure> {
        let keys = folder.join("keys.toml");
        let _ = fs::remove_file(&keys); // nobody may have more than two
        let mut command = Command::new(maitred);
        let key = shell::output(command.args(["key", "add", "bench", "--file"]).arg(&keys))?;
        let key = String::from_utf8_lossy(&key).trim().to_owned();
        let mut hash = Command::new("sh");
        let hash = shell::output(hash.args(["-c", "echo 'a good password' | \"$0\" hash"]).arg(maitred))?;
        let users = format!("[users.bench]\npassword = \"{}\"\n", String::from_utf8_lossy(&hash).trim());
        fs::write(folder.join("users.toml"), users).map_err(because("cannot write the users"))?;
        Ok(Self { key, token: token(folder)? })
    }

    /// The field that a request needs to be let in, or to be given what the policy is about.
    pub(crate) fn field(&self, policy: Policy) -> Option<String> {
        match policy {
            Policy::Gzip | Policy::Workers => Some("Accept-Encoding: gzip".to_owned()),
            // `bench:a good password`.
            Policy::Basic => Some("Authorization: Basic YmVuY2g6YSBnb29kIHBhc3N3b3Jk".to_owned()),
            Policy::Token | Policy::Introspection | Policy::Forward => {
                Some(format!("Authorization: Bearer {}", self.token))
            }
            _ if policy.wants_key() => Some(format!("X-API-Key: {}", self.key)),
            _ => None,
        }
    }
}

/// A JWT by RS256, the most common kind, that is good for a century.
fn token(folder: &Path) -> Result<String, Failure> {
    let (private, public, unsigned) = (folder.join("token.key"), folder.join("token.pub"), folder.join("token.txt"));
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]);
    shell::output(openssl.arg(&private).stderr(Stdio::null()))?;
    shell::output(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public))?;
    let head = base64url(br#"{"alg":"RS256","typ":"JWT"}"#);
    let claims = base64url(br#"{"sub":"bench","aud":"bench","exp":4900000000}"#);
    let text = format!("{head}.{claims}");
    fs::write(&unsigned, &text).map_err(because("cannot write the token"))?;
    let mut openssl = Command::new("openssl");
    let signature = shell::output(openssl.args(["dgst", "-sha256", "-sign"]).arg(&private).arg(&unsigned))?;
    Ok(format!("{text}.{}", base64url(&signature)))
}

/// RFC 4648 section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |bits: u32| char::from(LETTERS[(bits & 63) as usize]);
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        text.extend((0..=three.len()).map(|place| letter(bits >> (18 - 6 * place))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_that_of_the_standard() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("\u{3ff}?", "z78_")]
        {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
    }
}
