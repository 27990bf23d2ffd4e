//! The backends that a file lists, looked at as it changes.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use document::{At, Document, OneOrMany, Place, Report, Vocabulary};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Discover, Found, Listed};
use crate::{compile::listed, config, resolve::Resolve, target::Protocol};

/// How often the file is looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// A file that something else keeps up to date.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    protocol: Protocol,
    refresh: Duration,
    seen: Mutex<Option<(Stamp, Arc<[Listed]>)>>,
}

/// What tells one state of a file from another: device, inode, length, and when it was written.
type Stamp = (u64, u64, u64, i64, i64);

/// What the file says.
#[derive(Debug, Deserialize, JsonSchema)]
struct Written {
    /// As the `backends` of an upstream.
    backends: Option<OneOrMany<config::Backend>>,
}

impl File {
    pub(crate) fn new(path: &Path, protocol: Protocol, refresh: Option<Duration>) -> Self {
        Self { path: path.into(), protocol, refresh: refresh.unwrap_or(PAUSE), seen: Mutex::default() }
    }

    /// Reads the file, unless it is as it was.
    pub(crate) fn look(&self) -> Result<Arc<[Listed]>, String> {
        let stamp = stamp(&self.path)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, backends)) = seen.as_ref().filter(|(known, _)| *known == stamp) {
            return Ok(Arc::clone(backends));
        }
        let text = fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        let backends: Arc<[Listed]> = self.read(&text)?.into();
        *seen = Some((stamp, Arc::clone(&backends)));
        Ok(backends)
    }

    fn read(&self, text: &str) -> Result<Vec<Listed>, String> {
        let name = self.path.display().to_string();
        let (mut document, mut report) = (Document::new(), Report::new());
        let tree = document.read(&name, text, &mut report);
        document.merge(tree, &mut report);
        let written = document.decode::<Written>(&At::root(), &Vocabulary::default(), &mut report);
        let backends = written.and_then(|written| written.backends).unwrap_or(OneOrMany(Vec::new()));
        if !report.has_errors() && backends.is_empty() {
            return Err("it lists no backend".into());
        }
        let listed = listed(&backends, &At::root().key("backends"), self.protocol, &mut report);
        match report.diagnostics().iter().find(|one| !one.code.is_warning()) {
            None => Ok(listed),
            Some(first) => {
                let place = first.labels.first().and_then(|label| match &label.place {
                    Place::At(at) => document.location(at),
                    Place::Span(span) => document.locate(span),
                });
                let line = place.map_or_else(String::new, |found| format!("line {}: ", found.position.line));
                Err(format!("{line}{}", first.message))
            }
        }
    }
}

#[async_trait]
impl Discover for File {
    fn provider(&self) -> &'static str {
        "file"
    }

    fn patience(&self) -> Duration {
        self.refresh
    }

    /// Reads a small file that is most likely in memory: not worth another thread.
    async fn find(&self, _resolver: &dyn Resolve) -> Result<Found, String> {
        self.look().map(|backends| Found { backends, ttl: self.refresh })
    }
}

fn stamp(path: &Path) -> Result<Stamp, String> {
    let found = fs::metadata(path).map_err(|error| error.to_string())?;
    Ok((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}
