//! Values under names, and a list that all processes follow.

use std::{
    sync::{Arc, LazyLock, atomic::Ordering::Relaxed},
    time::Duration,
};

use redis::{Cmd, FromRedisValue, RedisResult, Script, ScriptInvocation};
use tokio::{
    task::JoinSet,
    time::{error::Elapsed, timeout},
};

use crate::{
    compile::Reach,
    connect::Link,
    store::{Down, Failed, PATIENCE, Store, UNHURRIED},
};

/// What `XREAD` answers: of each list, its entries with their names and fields.
type Entries = Vec<(String, Vec<(String, Vec<(String, Vec<u8>)>)>)>;

/// How many bytes say when a value is from that is [put in order](Store::put_after).
pub const ORDER: usize = 16;

/// Puts values, each unless the one that is there is from a later moment. Says how many it has put.
static PUT_AFTER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local put = 0
for i, key in ipairs(KEYS) do
    local value, lasts = ARGV[2 * i - 1], ARGV[2 * i]
    local there = tonumber(redis.call('GETRANGE', key, 0, 15))
    if not there or there <= tonumber(string.sub(value, 1, 16)) then
        redis.call('SET', key, value, 'PX', lasts)
        put = put + 1
    end
end
return {put}",
    )
});

/// A value that is [put in order](Store::put_after): under which key, what, and for how many milliseconds.
pub type Ordered = (String, Vec<u8>, u64);

/// Removes values, each unless the one that is there is from a later moment.
static REMOVE_UNTIL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local gone = 0
for i, key in ipairs(KEYS) do
    local there = tonumber(redis.call('GETRANGE', key, 0, 15))
    if not there or there <= tonumber(ARGV[i]) then gone = gone + redis.call('DEL', key) end
end
return {gone}",
    )
});

impl Store {
    /// A connection of its own to the same Redis: large values on one hold up nobody on the other.
    #[must_use]
    pub fn twin(&self) -> Self {
        Self::new(self.0.settings.clone())
    }

    /// Whether both are connections to the same Redis, made in the same way.
    pub fn is_like(&self, other: &Self) -> bool {
        self.0.settings == other.0.settings
    }

    /// The values of these keys; `None` for those that are not there.
    ///
    /// # Errors
    ///
    /// At once when Redis is away; and when it has not answered in time.
    pub async fn values(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Down> {
        Ok(self.ask(redis::cmd("MGET").arg(keys)).await?)
    }

    /// What a value begins with that is [put in order](Store::put_after), so that Redis knows when it is from.
    pub fn order(when: u64) -> String {
        format!("{when:0ORDER$}")
    }

    /// When a value is from that was put in order; `None` where nothing says that.
    pub fn moment(value: &[u8]) -> Option<u64> {
        std::str::from_utf8(value.get(..ORDER)?).ok()?.parse().ok()
    }

    /// Puts a value under a key, for so many milliseconds, unless one is there that is from a later moment. Says whether it was
    /// put. It begins with its own [moment](Store::order).
    ///
    /// # Errors
    ///
    /// At once when Redis is away; when it refuses it; and when it has not answered in time. It may then have the value all the same.
    pub async fn put_after(&self, key: &str, value: &[u8], millis: u64) -> Result<bool, Failed> {
        let mut call = PUT_AFTER.key(key);
        call.arg(value).arg(millis);
        self.invoke(&call).await.map(|put| put == [1])
    }

    /// Puts many values [in order](Store::put_after), in one step where they are on one node, and all at the same time where
    /// they are not.
    ///
    /// # Errors
    ///
    /// At once when Redis is away; when it refuses it; and when it has not answered in time. It may then have them all the same, or some.
    pub async fn put_all_after(&self, values: Vec<Ordered>) -> Result<(), Failed> {
        if values.is_empty() {
            return Ok(());
        }
        if !self.is_spread() {
            let mut call = PUT_AFTER.prepare_invoke();
            for (key, value, millis) in values {
                call.key(key).arg(value).arg(millis);
            }
            return self.invoke(&call).await.map(drop);
        }
        let mut putting = JoinSet::new();
        for (key, value, millis) in values {
            let store = self.clone();
            putting.spawn(async move { store.put_after(&key, &value, millis).await });
        }
        while let Some(put) = putting.join_next().await {
            put.unwrap_or(Err(Failed::Down))?;
        }
        Ok(())
    }

    /// Removes what was [put in order](Store::put_after) under these keys, each unless it is from a later moment than the one
    /// beside the key.
    ///
    /// # Errors
    ///
    /// At once when Redis is away; when it refuses it; and when it has not answered in time. It may then have removed them all the same.
    pub async fn remove_until(&self, keys: &[(&str, u64)]) -> Result<(), Failed> {
        // The keys of one script have to be on one node.
        let at_once = if matches!(self.0.settings.reach, Reach::Cluster) { 1 } else { keys.len().max(1) };
        for keys in keys.chunks(at_once) {
            let mut call = REMOVE_UNTIL.prepare_invoke();
            for (key, until) in keys {
                call.key(key).arg(until);
            }
            self.invoke(&call).await?;
        }
        Ok(())
    }

    async fn invoke(&self, call: &ScriptInvocation<'_>) -> Result<Vec<i64>, Failed> {
        let Some(link) = self.0.link.load_full() else { return Err(self.is_away()) };
        let answered = timeout(self.timeout(), link.invoke(call)).await;
        self.heard(&link, answered)
    }

    /// Adds a value to a list that has no more than about `most`.
    ///
    /// # Errors
    ///
    /// At once when Redis is away; when it refuses it; and when it has not answered in time. It may then have the value all the same.
    pub async fn append(&self, list: &str, value: &[u8], most: usize) -> Result<(), Failed> {
        let mut add = redis::cmd("XADD");
        add.arg(list).arg("MAXLEN").arg("~").arg(most).arg("*").arg("v").arg(value);
        self.ask::<String>(&add).await.map(drop)
    }

    /// What was added to a list after the entry `last`, each with what it is called; "0" stands for the beginning. No request
    /// waits for that: it may take a second.
    ///
    /// # Errors
    ///
    /// At once when Redis is away; and when it has not answered in time.
    pub async fn since(&self, list: &str, last: &str, most: usize) -> Result<Vec<(String, Vec<u8>)>, Down> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(most).arg("STREAMS").arg(list).arg(last);
        let lists: Option<Entries> = self.ask_patiently(&read, UNHURRIED).await?;
        let entries = lists.into_iter().flatten().flat_map(|(_, entries)| entries);
        Ok(entries.filter_map(|(name, fields)| Some((name, fields.into_iter().next()?.1))).collect())
    }

    /// Takes these keys away, each wherever it is. Operators wait for that, and requests do not: it may take a second.
    ///
    /// # Errors
    ///
    /// At once when Redis is away; and when it has not answered in time. Some of them may then be gone all the same.
    pub async fn forget(&self, keys: &[String]) -> Result<(), Down> {
        for key in keys {
            self.ask_patiently::<i64>(redis::cmd("DEL").arg(key), UNHURRIED).await?;
        }
        Ok(())
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failed> {
        self.ask_patiently(command, self.timeout()).await
    }

    async fn ask_patiently<T: FromRedisValue>(&self, command: &Cmd, patience: Duration) -> Result<T, Failed> {
        let Some(link) = self.0.link.load_full() else { return Err(self.is_away()) };
        let answered = timeout(patience, link.query(command)).await;
        self.heard(&link, answered)
    }

    fn heard<T>(&self, link: &Arc<Link>, answered: Result<RedisResult<T>, Elapsed>) -> Result<T, Failed> {
        match answered {
            Ok(answered) => answered
                .inspect(|_| self.0.late.store(0, Relaxed))
                .map_err(|error| self.0.came_to_nothing(link, &error)),
            Err(_) => {
                if self.0.late.fetch_add(1, Relaxed) + 1 >= PATIENCE {
                    self.0.lose(link, "it does not answer in time");
                }
                Err(self.is_away())
            }
        }
    }

    fn is_away(&self) -> Failed {
        self.0.fail();
        Failed::Down
    }
}

#[cfg(test)]
mod tests {
    use super::Store;

    #[test]
    fn a_moment_is_read_as_it_was_written() {
        for when in [0, 1, 1_800_000_000_000, 9_999_999_999_999_999] {
            assert_eq!(Store::moment(Store::order(when).as_bytes()), Some(when));
            assert_eq!(Store::moment(format!("{}rest", Store::order(when)).as_bytes()), Some(when));
        }
        for other in [&b""[..], b"180000000000000", &1_800_000_000_000_u64.to_le_bytes(), &[0xff; 16], &[b' '; 16]] {
            assert_eq!(Store::moment(other), None, "{other:?}");
        }
    }
}
