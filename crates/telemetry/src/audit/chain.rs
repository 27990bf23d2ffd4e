//! The chain: every line has the hash of the one before, and its own. Whoever changes, inserts or removes a line breaks it.
//!
//! A line is a JSON object whose last two members are `prev` and `hash`. The hash is the SHA-256 of the line up to
//! `,"hash":`, so that any tool can check it: `printf %s "${line%,\"hash\":*}" | sha256sum`.

use std::{
    fmt,
    io::{self, BufRead},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

/// What stands for the line before the first.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The longest line that is read.
const LONGEST: u64 = 16 * 1024 * 1024;

/// The end of a chain, so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The number of the last line; 0 where there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for Link {
    fn default() -> Self {
        Self { seq: 0, hash: NOTHING.to_owned() }
    }
}

impl Link {
    /// Makes `object`, the text of a JSON object, the next line, and this its link.
    pub(super) fn seal(&mut self, object: &str, lost: u64) -> String {
        let seq = self.seq + 1;
        let inner = object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or("");
        let lost = if lost == 0 { String::new() } else { format!(",\"lost\":{lost}") };
        let mut line = format!("{{\"seq\":{seq},{inner}{lost},\"prev\":\"{}\"", self.hash);
        self.hash = hash(&line);
        self.seq = seq;
        line.push_str(&format!(",\"hash\":\"{}\"}}\n", self.hash));
        line
    }

    /// The link that a line is, whatever came before it.
    pub(super) fn of(line: &str) -> Option<(Self, String)> {
        let (body, end) = line.rsplit_once(",\"hash\":\"")?;
        let own = end.strip_suffix("\"}").filter(|own| *own == hash(body))?;
        let object: Value = serde_json::from_str(line).ok()?;
        let link = Self { seq: object.get("seq")?.as_u64()?, hash: own.to_owned() };
        Some((link, object.get("prev")?.as_str()?.to_owned()))
    }
}

fn hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A chain that is being checked, file by file in the order of their age.
#[derive(Debug, Default)]
pub struct Chain {
    end: Option<Link>,
    /// How many lines there are.
    pub lines: u64,
    /// How many were lost because they could not be written as fast as they came, by what the chain itself says.
    pub lost: u64,
    /// Lines that were begun and not ended, because the process was: they are no part of the chain.
    pub torn: Vec<u64>,
    /// Whether the first line is the first that there ever was.
    pub whole: bool,
    /// A hash that has to be among the lines', and whether it was.
    pub head: Option<(String, bool)>,
}

/// Where a chain is broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// The line of the file, counted from 1.
    pub line: u64,
    /// What is wrong.
    pub why: &'static str,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl Chain {
    /// A chain that has to have this hash in it, where one is given.
    pub fn with_head(head: Option<&str>) -> Self {
        Self { head: head.map(|head| (head.trim().to_ascii_lowercase(), false)), ..Self::default() }
    }

    /// Checks the lines of another file, which goes on where the last one ended.
    ///
    /// # Errors
    /// The file cannot be read; the inner one: the chain is broken.
    pub fn read(&mut self, mut file: impl BufRead) -> io::Result<Result<(), Break>> {
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            if io::Read::take(&mut file, LONGEST).read_until(b'\n', &mut text)? == 0 {
                break;
            }
            let broken = |why| Ok(Err(Break { line, why }));
            let whole = text.strip_suffix(b"\n");
            let read = std::str::from_utf8(whole.unwrap_or(&text)).ok();
            let Some(read) = read.filter(|read| serde_json::from_str::<Value>(read).is_ok()) else {
                self.torn.push(line);
                continue;
            };
            let Some((link, before)) = Link::of(read) else {
                return broken("it is not what was written: its hash does not fit, or it has none");
            };
            if let Err(why) = self.follows(&link, &before) {
                return broken(why);
            }
            self.take(link, read);
        }
        Ok(Ok(()))
    }

    fn follows(&self, link: &Link, before: &str) -> Result<(), &'static str> {
        let Some(end) = &self.end else { return Ok(()) };
        match before == end.hash && link.seq == end.seq + 1 {
            true => Ok(()),
            false if before == NOTHING => Err("the chain begins anew: what was before may have been cut off"),
            false => Err("it does not follow the line before: one was removed, inserted or moved"),
        }
    }

    fn take(&mut self, link: Link, line: &str) {
        if self.end.is_none() {
            self.whole = link.seq == 1;
        }
        if let Some((head, found)) = &mut self.head {
            *found |= *head == link.hash;
        }
        let object: Option<Value> = serde_json::from_str(line).ok();
        self.lost += object.and_then(|object| object.get("lost")?.as_u64()).unwrap_or(0);
        self.lines += 1;
        self.end = Some(link);
    }

    /// The last line: whoever keeps its hash elsewhere notices when lines are cut off, or all are written anew.
    pub fn end(&self) -> Link {
        self.end.clone().unwrap_or_default()
    }
}
