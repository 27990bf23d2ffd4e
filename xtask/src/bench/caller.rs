//! Who asks, where a policy wants to know: an API key from maitred's own command, a token and a certificate that openssl has
//! signed, and a session.

use std::{
    cell::RefCell,
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
    /// The cookie of whoever has logged in last: the proxy that is compared with is sent what the other one was.
    session: RefCell<String>,
}

impl Caller {
    /// Makes key, token and certificate, and beside the server's own certificate what maitred needs to know them.
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
        make_client(folder)?;
        make_keys(folder)?;
        // Good for a century.
        let token = sign(folder, r#"{"sub":"bench","aud":"bench","exp":4900000000}"#)?;
        Ok(Self { key, token, session: RefCell::default() })
    }

    /// Remembers the cookie of a session.
    pub(crate) fn keep(&self, session: String) {
        self.session.replace(session);
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
            Policy::Login => Some(format!("Cookie: {}", self.session.borrow())),
            _ if policy.wants_key() => Some(format!("X-API-Key: {}", self.key)),
            _ => None,
        }
    }
}

/// Makes what tokens are signed with: RSA, the most common kind.
fn make_keys(folder: &Path) -> Result<(), Failure> {
    let (private, public) = (folder.join("token.key"), folder.join("token.pub"));
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]);
    shell::output(openssl.arg(&private).stderr(Stdio::null()))?;
    let mut openssl = Command::new("openssl");
    shell::output(openssl.args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public)).map(drop)
}

/// A JWT by RS256 that says so.
pub(super) fn sign(folder: &Path, claims: &str) -> Result<String, Failure> {
    let (head, claims) = (base64url(br#"{"alg":"RS256","typ":"JWT"}"#), base64url(claims.as_bytes()));
    let (text, unsigned) = (format!("{head}.{claims}"), folder.join("token.txt"));
    fs::write(&unsigned, &text).map_err(because("cannot write the token"))?;
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-sign"]).arg(folder.join("token.key"));
    Ok(format!("{text}.{}", base64url(&shell::output(openssl.arg(&unsigned))?)))
}

/// The public key as issuers publish it (RFC 7517).
pub(super) fn key_set(folder: &Path) -> Result<String, Failure> {
    let mut openssl = Command::new("openssl");
    openssl.args(["rsa", "-pubin", "-modulus", "-noout", "-in"]).arg(folder.join("token.pub"));
    let said = shell::output(&mut openssl)?;
    let said = String::from_utf8_lossy(&said);
    let modulus = said.trim().strip_prefix("Modulus=").and_then(bytes);
    let modulus = modulus.ok_or_else(|| Failure::new(format!("openssl says `{said}` of the public key")))?;
    // 65537 is what OpenSSL takes for the exponent.
    Ok(format!(r#"{{"keys":[{{"kty":"RSA","alg":"RS256","use":"sig","n":"{}","e":"AQAB"}}]}}"#, base64url(&modulus)))
}

/// The bytes that hexadecimal digits stand for.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|place| u8::from_str_radix(digits.get(place..place + 2)?, 16).ok()).collect()
}

/// An authority for clients, and a certificate of it that names one.
fn make_client(folder: &Path) -> Result<(), Failure> {
    let openssl = |line: &str| {
        let words = line.split(' ');
        shell::output(Command::new("openssl").current_dir(folder).args(words)).map(drop)
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -days 30 -subj /CN=clients -keyout clients.key -out clients.pem"))?;
    openssl(&format!("req -new {key} -subj /CN=bench -keyout client.key -out client.csr"))?;
    let says = "subjectAltName=DNS:bench.partner.example\nextendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n";
    fs::write(folder.join("client.ext"), says).map_err(because("cannot write the client's certificate"))?;
    openssl(
        "x509 -req -in client.csr -CA clients.pem -CAkey clients.key -set_serial 7 -days 30 -extfile client.ext -out client.pem",
    )
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
    fn hexadecimal_digits_are_bytes() {
        assert_eq!(bytes("C0fe01"), Some(vec![0xC0, 0xFE, 1]));
        assert_eq!((bytes("C0f"), bytes("x0")), (None, None));
    }

    #[test]
    fn base64url_is_that_of_the_standard() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("\u{3ff}?", "z78_")]
        {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
    }
}
