//! What a process has learnt that goes over to the one that takes its place: one table for all concerns.

use crate::State;

/// What one concern hands over. A concern that has more to tell has another row; a successor that does not know of a row
/// is not told, and a predecessor that does not know of it tells nothing.
pub struct Heirloom {
    /// What it is called when two processes talk.
    pub name: &'static str,
    /// Writes down what there is at this moment.
    pub export: fn(&State) -> Vec<u8>,
    /// Goes on with it. Called before anything is compiled.
    pub import: fn(&State, &[u8]) -> Result<(), String>,
    /// For what changes as long as the old process has requests under way: whether there is anything of an old process now.
    /// It is told again and again then, and nothing at all once that process is gone.
    pub lives_on: Option<fn(&State) -> bool>,
    /// Whether what is told again comes on top of what was told before, each piece once, up to an empty one. Else it is told
    /// anew in its place.
    pub adds: bool,
}

/// Everything that is handed over, in the order in which it is told.
pub const HEIRLOOMS: [Heirloom; 5] = [
    Heirloom {
        name: "limits",
        export: |state| state.limits.export(),
        import: |state, bytes| state.limits.import(bytes).map_err(str::to_owned),
        lives_on: None,
        adds: false,
    },
    Heirloom {
        name: "upstreams",
        export: |state| state.upstreams.export(),
        import: |state, bytes| state.upstreams.import(bytes),
        lives_on: None,
        adds: false,
    },
    Heirloom {
        name: "places",
        export: |state| state.limits.held(),
        import: |state, bytes| state.limits.held_elsewhere(bytes).map_err(str::to_owned),
        lives_on: Some(|state| state.limits.holds_elsewhere()),
        adds: false,
    },
    // What was charged after the limits were told.
    Heirloom {
        name: "charges",
        export: |state| state.limits.charges(),
        import: |state, bytes| state.limits.charged_elsewhere(bytes).map_err(str::to_owned),
        // It is told of an old process, and nobody has to stay for it.
        lives_on: Some(|_| false),
        adds: true,
    },
    // What the last requests of the old process have changed and purged of what is kept.
    Heirloom {
        name: "news",
        export: |state| state.cache.news(),
        import: |state, bytes| state.cache.hear(bytes).map_err(str::to_owned),
        lives_on: Some(|_| false),
        adds: true,
    },
];

impl Heirloom {
    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        HEIRLOOMS.iter().find(|heirloom| heirloom.name == name)
    }
}
