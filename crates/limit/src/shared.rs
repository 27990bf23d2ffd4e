//! Limits that several processes count together, in Redis.
//!
//! The maths is that of one process, in a script that Redis runs in one step: all rules of a request are asked before any
//! is charged, by the clock of Redis.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use filter::{Reason, Reply, View};
use store::{Down, Script, Store};

use crate::{
    clock::{MILLISECOND, Now},
    config::WhenDown,
    key::Value,
    limit::{Ask, Source, Stage},
    permits::Permits,
    rule::{Rule, Said, Standing},
};

/// What a limit needs to be counted elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) prefix: Box<str>,
    pub(crate) down: WhenDown,
}

/// The longest name that is a key as it is.
const LONGEST_NAME: usize = 64;

static ADMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("admit.lua")));

static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("give_back.lua")));

impl Shared {
    /// What a key is called in the store. What may be a secret, or is not plain text, is told by its SHA-256.
    pub(crate) fn called(&self, limit: &str, rule: &Rule, value: Value<'_>) -> Box<str> {
        let hashed = |bytes: &[u8]| {
            let digest = digest(&SHA256, bytes);
            digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let key = match value {
            Value::Network(address) => address.to_string(),
            Value::Nobody => "unknown".to_owned(),
            Value::Name(name) if name.len() <= LONGEST_NAME && name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                name.to_owned()
            }
            Value::Name(name) => format!("#{}", hashed(name.as_bytes())),
            Value::Bytes(bytes) => format!("#{}", hashed(bytes)),
        };
        format!("{}:limit:{limit}:{}:{key}", self.prefix, rule.kind()).into()
    }
}

impl Stage {
    /// As `admit`, with a question to the store between asking the limits of this process and charging for the request.
    pub(crate) async fn pass_shared(&self, store: &Store, request: &View<'_>) -> Result<Permits, Reply> {
        let mut asks = self.asks(request)?;
        // What is known here need not be asked elsewhere.
        let verdict = {
            let locked = self.counters.lock(asks.iter().map(|ask| ask.key));
            self.weigh(&mut asks, &locked, Now::read())
        };
        if !verdict.refused.is_empty() {
            return Err(self.refuse(&verdict, &asks, request));
        }
        let asked = asks.iter().any(|ask| ask.source == Source::Unasked);
        if asked && let Err(Down) = self.ask_store(store, &mut asks).await {
            self.do_without(&mut asks)?;
        }
        let now = Now::read();
        let locked = self.counters.lock(asks.iter().map(|ask| ask.key));
        let verdict = self.weigh(&mut asks, &locked, now);
        if verdict.refused.is_empty() {
            return Ok(self.charge(&verdict, asks, locked, now));
        }
        drop(locked);
        self.take_back(store, &asks);
        Err(self.refuse(&verdict, &asks, request))
    }

    async fn ask_store(&self, store: &Store, asks: &mut [Ask]) -> Result<(), Down> {
        let (mut keys, mut arguments) = (Vec::new(), Vec::new());
        for ask in asks.iter().filter(|ask| ask.source == Source::Unasked) {
            let limit = &self.limits[ask.limit];
            let obeyed = limit.mode == filter::Mode::Enforce;
            let patience = if obeyed { (limit.patience / MILLISECOND) as i64 } else { -1 };
            keys.extend(ask.called.as_deref().map(str::to_owned));
            arguments.extend(ask.salted.rule.script_arguments());
            arguments.extend([i64::from(limit.cost), patience]);
        }
        let numbers = store.run(&ADMIT, &keys, &arguments).await?;
        if numbers.len() != 3 * keys.len() {
            return Err(Down);
        }
        let unasked = asks.iter_mut().filter(|ask| ask.source == Source::Unasked);
        for (ask, said) in unasked.zip(numbers.chunks_exact(3)) {
            let millis = u64::try_from(said[2]).unwrap_or(0).saturating_mul(MILLISECOND);
            let remaining = u32::try_from(said[1]).unwrap_or(0);
            ask.source = Source::Store;
            ask.said = match said[0] {
                1 => Said::Free(Standing { remaining, reset: millis }),
                _ => Said::Full { wait: millis },
            };
        }
        Ok(())
    }

    /// The store is away: each limit says what then.
    fn do_without(&self, asks: &mut [Ask]) -> Result<(), Reply> {
        for ask in asks.iter_mut().filter(|ask| ask.source == Source::Unasked) {
            let limit = &self.limits[ask.limit];
            limit.meters.store_errors.inc();
            ask.source = match limit.shared.as_ref().map(|shared| shared.down) {
                Some(WhenDown::Allow) => Source::Nobody,
                Some(WhenDown::Deny) if limit.mode == filter::Mode::Enforce => {
                    return Err(Reason::LimitStoreDown.into());
                }
                _ => Source::Here,
            };
        }
        Ok(())
    }

    /// The store has charged for a request that a limit of this process refuses after all: another was faster.
    fn take_back(&self, store: &Store, asks: &[Ask]) {
        let by_store = |ask: &&Ask| ask.source == Source::Store;
        if asks.iter().filter(by_store).any(|ask| matches!(ask.said, Said::Full { .. })) {
            return; // it has refused, and charged nothing
        }
        for ask in asks.iter().filter(by_store) {
            if let Some(called) = &ask.called {
                give_back(store, called, &ask.salted.rule, self.limits[ask.limit].cost);
            }
        }
    }
}

/// Gives a charge back in the store, some time soon.
pub(crate) fn give_back(store: &Store, called: &str, rule: &Rule, cost: u32) {
    let mut arguments: Vec<i64> = rule.script_arguments().to_vec();
    arguments.push(i64::from(cost));
    store.run_later(&GIVE_BACK, called.to_owned(), arguments);
}
