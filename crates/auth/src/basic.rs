//! Names and passwords (RFC 7617). A password is hashed slowly, on threads of their own, and once.

mod users;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use document::Followed;
use filter::Identity;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::{
    policy::Doubt,
    verdicts::{Known, Verdicts},
};

pub(crate) use users::Users;

/// The longest credentials that are looked at.
const LONGEST: usize = 1024;
/// How many passwords are hashed at once: each takes a core, and some 20 MiB.
const AT_ONCE: usize = 2;
/// How many may wait for that. Whoever guesses by the thousand is told to come back.
const WAITING: usize = 64;
/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many good credentials are remembered.
const REMEMBERED: usize = 4096;

/// The users of a file, as it is now.
pub(crate) struct Basic {
    users: Arc<Followed<Users>>,
    verdicts: Verdicts<Known>,
    hashing: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Basic {
    pub(crate) fn each(&self, tell: &mut dyn FnMut(&Identity)) {
        self.users.get().each(tell);
    }

    pub(crate) fn like(&self, is: impl Fn(&Identity) -> bool) -> Option<Arc<Identity>> {
        self.users.get().like(is)
    }

    pub(crate) fn new(users: Arc<Followed<Users>>) -> Self {
        Self {
            users,
            verdicts: Verdicts::new(REMEMBERED),
            hashing: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Semaphore::new(WAITING),
        }
    }

    /// What is known of the credentials; [`Doubt::Unheard`] where their password has to be hashed first.
    pub(crate) fn verify(&self, credentials: &str) -> Result<Arc<Identity>, Doubt> {
        if credentials.len() > LONGEST {
            return Err(Doubt::Invalid);
        }
        let known = self.verdicts.get(&hash(credentials).ok_or(Doubt::Invalid)?);
        let now = self.users.get().id;
        known.filter(|known| known.keys == now).map(|known| known.identity).ok_or(Doubt::Unheard)
    }

    /// Hashes the password, beside the workers.
    pub(crate) async fn ask(&self, credentials: &str) -> Result<Arc<Identity>, Doubt> {
        let decoded = STANDARD.decode(credentials).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (user, password) = decoded.as_deref().and_then(|text| text.split_once(':')).ok_or(Doubt::Invalid)?;
        let users = self.users.get().clone();
        let found = users.find(user);
        // Whoever is not there costs as much as who is: the time tells nobody which names exist.
        let written = found.map_or_else(nobody, |user| Some(user.password.clone())).ok_or(Doubt::Unavailable)?;
        let password = password.as_bytes().to_vec();
        let _place = self.waiting.try_acquire().map_err(|_| Doubt::Unavailable)?;
        let turn = timeout(PATIENCE, self.hashing.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Doubt::Unavailable)?.map_err(|_| Doubt::Unavailable)?;
        let matches = spawn_blocking(move || {
            // Kept to the end even where the client has left meanwhile.
            let _turn = turn;
            let hash = PasswordHash::new(&written);
            hash.is_ok_and(|hash| Argon2::default().verify_password(&password, &hash).is_ok())
        });
        let matches = matches.await.map_err(|_| Doubt::Unavailable)?;
        let Some(user) = found.filter(|_| matches) else { return Err(Doubt::Invalid) };
        let identity = user.identity.clone();
        if let Some(hash) = hash(credentials) {
            self.verdicts.put(hash, Known { identity: identity.clone(), until: None, keys: users.id });
        }
        Ok(identity)
    }

    pub(crate) fn pose(&self, user: &str) -> Option<Arc<Identity>> {
        self.users.get().find(user).map(|user| user.identity.clone())
    }
}

fn hash(credentials: &str) -> Option<[u8; 32]> {
    digest(&SHA256, credentials.as_bytes()).as_ref().try_into().ok()
}

/// The hash of a password that nobody has.
fn nobody() -> Option<Arc<str>> {
    static NOBODY: OnceLock<Option<Arc<str>>> = OnceLock::new();
    NOBODY.get_or_init(|| password_hash("nobody has this").map(Into::into)).clone()
}

/// The Argon2id hash of a password, as a file of users has it. `None` where the system has no randomness.
pub fn password_hash(password: &str) -> Option<String> {
    Argon2::default().hash_password(password.as_bytes()).ok().map(|hash| hash.to_string())
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Basic({})", self.users.path().display())
    }
}
