//! The API keys of the configuration in force, for an operator who asks the running server.

use std::{collections::BTreeMap, path::Path};

use admin::{ApiKey, FreshKey, KeyOrder, NoKey};
use auth::keys::edit::{self, Made, Order, Refused, is_live};
use config::{Config, Loaded};

use crate::keys;

/// Every key of every file.
pub(super) fn all(loaded: &Loaded) -> Result<Vec<ApiKey>, NoKey> {
    let Some(config) = &loaded.config else { return Ok(Vec::new()) };
    let mut policies: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (policy, path) in keys::files(config) {
        policies.entry(path).or_default().push(policy.to_owned());
    }
    let mut all = Vec::new();
    for (path, policies) in policies {
        let now = jiff::Timestamp::now().as_second();
        let file = edit::read(Path::new(path)).map_err(told)?;
        all.extend(file.keys.iter().map(|(id, key)| {
            let consumer = file.consumers.get(&key.consumer).cloned().unwrap_or_default();
            ApiKey {
                id: id.clone(),
                consumer: key.consumer.clone(),
                policies: policies.clone(),
                created: key.created.clone(),
                expires: key.expires.clone(),
                live: is_live(key, now),
                limits: consumer.amounts(),
                plan: consumer.plan,
                scopes: key.scopes.clone().unwrap_or(consumer.scopes),
                roles: consumer.roles,
            }
        }));
    }
    Ok(all)
}

/// Makes a key.
pub(super) fn add(loaded: &Loaded, order: &KeyOrder) -> Result<FreshKey, NoKey> {
    let path = file(loaded.config.as_ref(), order.policy.as_deref())?;
    let wanted = Order {
        consumer: order.consumer.clone(),
        expires: order.expires.clone(),
        plan: order.plan.clone(),
        limits: order.limits.clone(),
        scopes: order.scopes.clone(),
        roles: order.roles.clone(),
    };
    let Made { fresh, expires } = edit::add(Path::new(path), &wanted).map_err(told)?;
    Ok(FreshKey { key: fresh.text, id: fresh.id, consumer: wanted.consumer, expires })
}

/// Takes a key out of its file.
pub(super) fn revoke(loaded: &Loaded, id: &str, policy: Option<&str>) -> Result<String, NoKey> {
    edit::revoke(Path::new(file(loaded.config.as_ref(), policy)?), id).map_err(told)
}

/// The file of a policy, or else the only one.
fn file<'c>(config: Option<&'c Config>, policy: Option<&str>) -> Result<&'c str, NoKey> {
    let files = config.map(keys::files).unwrap_or_default();
    if let Some(policy) = policy {
        let found = files.get(policy).copied();
        return found.ok_or_else(|| NoKey::Unknown(format!("there is no policy `{policy}` with a file of keys")));
    }
    match keys::paths(&files)[..] {
        [one] => Ok(one),
        [] => Err(NoKey::Unknown("no policy of the configuration has `keys`".into())),
        _ => {
            let names: Vec<&str> = files.keys().copied().collect();
            Err(NoKey::Wrong(format!(
                "there is more than one file of keys: name the `policy`, one of {}",
                names.join(", ")
            )))
        }
    }
}

fn told(refused: Refused) -> NoKey {
    match refused {
        Refused::Wrong(message) => NoKey::Wrong(message),
        Refused::Unknown(message) => NoKey::Unknown(message),
        Refused::Conflict(message) => NoKey::Conflict(message),
        Refused::Failed(message) => NoKey::Failed(message),
    }
}
