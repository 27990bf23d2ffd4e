//! Whether a policy acts on its verdict.

use schemars::JsonSchema;
use serde::Deserialize;

/// What becomes of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Mode {
    /// The client is refused.
    #[default]
    Enforce,
    /// The client passes; that it would have been refused is counted and logged.
    Shadow,
}

impl Mode {
    /// Lets a refusal pass in shadow, and leaves `None` in the place of what passing proves. `told` keeps the first
    /// reason that would have refused the request.
    pub fn settle<T>(
        self,
        verdict: Result<T, crate::Reply>,
        told: &mut crate::Reason,
    ) -> Result<Option<T>, crate::Reply> {
        match (self, verdict) {
            (_, Ok(proof)) => Ok(Some(proof)),
            (Self::Enforce, Err(reply)) => Err(reply),
            (Self::Shadow, Err(reply)) => {
                *told = told.or(reply.reason);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reason, Reply};

    #[test]
    fn a_refusal_passes_in_shadow_only_and_the_first_is_told() {
        let mut told = Reason::None;
        let refused = |reason| Err::<(), _>(Reply::refuse(reason));
        assert!(Mode::Enforce.settle(refused(Reason::NoRoute), &mut told).is_err());
        assert_eq!(told, Reason::None);
        assert_eq!(Mode::Shadow.settle(refused(Reason::BadHost), &mut told).ok(), Some(None));
        assert_eq!(Mode::Shadow.settle(refused(Reason::NoRoute), &mut told).ok(), Some(None));
        assert_eq!(Mode::Shadow.settle(Ok(7), &mut told).ok(), Some(Some(7)));
        assert_eq!(told, Reason::BadHost);
    }
}
