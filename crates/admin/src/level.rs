//! The level of the process log, changed for the time being.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{self, SystemTime},
};

use document::Duration;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Admin, Who, answer::Answer, status::timestamp};

/// The process log, as far as its level can be changed.
pub trait Levels: Send + Sync + 'static {
    /// The level that holds now.
    fn current(&self) -> String;

    /// Changes it until told otherwise, or back to the configured one where none is named.
    ///
    /// # Errors
    /// It is no level.
    fn set(&self, level: Option<&str>) -> Result<(), String>;
}

/// How to change the level.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LogLevelOrder")]
pub(crate) struct Order {
    /// The level, as in `logging.level`; null for the configured one.
    pub(crate) level: Option<String>,
    /// For how long: `5m`. Without it, until told otherwise. Reloads and upgrades leave it, a restart does not.
    #[serde(default, rename = "for")]
    pub(crate) time: Option<Duration>,
}

/// The level that holds.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "LogLevel")]
pub(crate) struct Told {
    /// The level.
    level: String,
    /// When it goes back to the configured one by itself, RFC 3339; null where that is not foreseen.
    until: Option<String>,
}

/// Who changes the level, and until when it holds.
#[derive(Default)]
pub(crate) struct LogLevel {
    levels: Option<Box<dyn Levels>>,
    last: Mutex<Change>,
}

/// The last change.
#[derive(Default)]
struct Change {
    number: u64,
    level: Option<String>,
    until: Option<SystemTime>,
}

/// The level that an operator has ordered, as a successor is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedLevel {
    level: String,
    /// For how many milliseconds more; for good where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_ms: Option<u64>,
}

impl LogLevel {
    pub(crate) fn of(levels: impl Levels) -> Self {
        Self { levels: Some(Box::new(levels)), last: Mutex::default() }
    }

    fn levels(&self) -> Result<&dyn Levels, Answer> {
        let nobody = || Answer::problem(StatusCode::SERVICE_UNAVAILABLE, "the process log cannot be changed");
        self.levels.as_deref().ok_or_else(nobody)
    }

    pub(crate) fn told(&self) -> Result<Told, Answer> {
        let level = self.levels()?.current();
        let until = self.last.lock().unwrap_or_else(PoisonError::into_inner).until;
        Ok(Told { level, until: until.map(timestamp) })
    }

    /// Changes the level, and gives back the change's number.
    fn set(&self, order: &Order) -> Result<u64, Answer> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = |why: String| Answer::problem(StatusCode::UNPROCESSABLE_ENTITY, &why);
        self.levels()?.set(order.level.as_deref()).map_err(wrong)?;
        last.number += 1;
        last.level.clone_from(&order.level);
        last.until = order.time.and_then(|time| SystemTime::now().checked_add(time.0));
        Ok(last.number)
    }

    /// What a successor is to go on with.
    pub(crate) fn ordered(&self) -> Option<OrderedLevel> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |until: SystemTime| until.duration_since(SystemTime::now()).unwrap_or_default().as_millis() as u64;
        Some(OrderedLevel { level: last.level.clone()?, left_ms: last.until.map(left) })
    }

    /// Goes back to the configured level, unless there was another change since the one of this `number`.
    fn back(&self, number: u64) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.number != number {
            return false;
        }
        (last.level, last.until) = (None, None);
        self.levels().is_ok_and(|levels| levels.set(None).is_ok())
    }
}

/// Changes the level, and changes it back when its time is over.
pub(crate) fn set(admin: &Arc<Admin>, order: &Order) -> Result<Told, Answer> {
    let number = admin.level.set(order)?;
    if let Some(time) = order.time {
        let admin = Arc::downgrade(admin);
        tokio::spawn(async move {
            tokio::time::sleep(time.0).await;
            if let Some(admin) = admin.upgrade()
                && admin.level.back(number)
            {
                admin.record(Who::Itself, "set_log_level", Value::Null, "done", admin.generation());
            }
        });
    }
    admin.level.told()
}

/// Goes on with what the process before was told; whether it is a level to this one.
pub(crate) fn go_on(admin: &Arc<Admin>, ordered: &OrderedLevel) -> bool {
    let time = ordered.left_ms.map(|left| Duration(time::Duration::from_millis(left)));
    set(admin, &Order { level: Some(ordered.level.clone()), time }).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Voice(Arc<Mutex<String>>);

    impl Levels for Voice {
        fn current(&self) -> String {
            self.0.lock().unwrap().clone()
        }

        fn set(&self, level: Option<&str>) -> Result<(), String> {
            *self.0.lock().unwrap() = level.unwrap_or("configured").to_owned();
            Ok(())
        }
    }

    #[test]
    fn only_the_last_change_is_taken_back() {
        let voice = Voice::default();
        let level = LogLevel::of(voice.clone());
        let order = |level: &str| Order { level: Some(level.into()), time: Some(Duration::seconds(60)) };
        let first = level.set(&order("debug")).unwrap();
        let second = level.set(&order("trace")).unwrap();
        assert!(!level.back(first), "its time is over, and another has taken its place");
        assert_eq!(voice.current(), "trace");
        assert!(level.told().unwrap().until.is_some());
        let ordered = level.ordered().unwrap();
        assert!(ordered.level == "trace" && ordered.left_ms.unwrap() <= 60_000, "{ordered:?}");
        assert!(level.back(second));
        assert_eq!((voice.current().as_str(), level.told().unwrap().until), ("configured", None));
        assert_eq!(level.ordered(), None);
    }
}
