//! `maitred audit`: whether the audit log is as it was written.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use serde_json::json;
use telemetry::audit::Chain;

use crate::{
    cli,
    cli::Global,
    exit::{Failure, Outcome},
    files, out,
};

/// Checks the chain of the audit log.
pub fn verify(global: &Global, verify: &cli::AuditVerify) -> Outcome {
    let files = if verify.files.is_empty() { vec![configured(global)?] } else { verify.files.clone() };
    let mut chain = Chain::with_head(verify.head.as_deref());
    for path in &files {
        let before = chain.torn.len();
        read(&mut chain, path)?;
        for line in chain.torn.get(before..).unwrap_or_default() {
            eprintln!("{}:{line}: not a whole line: maitred was ended while it wrote it", path.display());
        }
    }
    if let Some((head, false)) = &chain.head {
        let message = format!("the hash {head} is not in it: lines were cut off, or all of them written anew");
        return Err(Failure::new(message));
    }
    tell(global, &chain)
}

fn read(chain: &mut Chain, path: &Path) -> Outcome {
    let failed = |error| Failure::new(format!("cannot read `{}`: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    match chain.read(BufReader::new(file)).map_err(failed)? {
        Ok(()) => Ok(()),
        Err(broken) => Err(Failure::new(format!("{}:{}: {}", path.display(), broken.line, broken.why))),
    }
}

fn tell(global: &Global, chain: &Chain) -> Outcome {
    let end = chain.end();
    if global.json {
        let told = json!({ "lines": chain.lines, "seq": end.seq, "head": end.hash, "whole": chain.whole,
                           "lost": chain.lost, "torn": chain.torn.len() });
        return out::line(told.to_string());
    }
    let mut text = format!("{} lines, none changed, inserted or removed between them", chain.lines);
    if !chain.whole && chain.lines > 0 {
        text.push_str("\nthe first is not the first that there was: older files go before");
    }
    if chain.lost > 0 {
        text.push_str(&format!("\n{} records were not written: they came faster than that", chain.lost));
    }
    out::line(format!("{text}\nhead {} (line {})", end.hash, end.seq))
}

/// The file that the configuration names.
fn configured(global: &Global) -> Result<PathBuf, Failure> {
    let found = files::find(global)?;
    let loaded = config::load(&found);
    let written = loaded.config.and_then(|config| config.admin.audit?.file);
    written.map(PathBuf::from).ok_or_else(|| {
        let message = format!("`{}` names no audit log\nhint: name the files", found.display());
        Failure { code: 2, message }
    })
}
