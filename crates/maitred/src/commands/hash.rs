//! `maitred hash`: the hash of a password, for a file of users.

use std::io::{self, IsTerminal};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::{
    exit::{Failure, Outcome},
    out,
};

/// Reads a password, which is never shown, and prints its hash.
pub fn run() -> Outcome {
    let password = read().map_err(|error| Failure::new(format!("cannot read the password: {error}")))?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure { code: 2, message: "the password is empty".into() });
    }
    let hash = auth::password_hash(password).ok_or_else(|| Failure::new("the system has no random numbers"))?;
    out::line(hash)
}

/// Reads a line; on a terminal without showing what is typed.
fn read() -> io::Result<String> {
    let stdin = io::stdin();
    let mut line = String::new();
    if !stdin.is_terminal() {
        stdin.read_line(&mut line)?;
        return Ok(line);
    }
    eprint!("password: ");
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &silent)?;
    let read = stdin.read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    eprintln!();
    read.map(|_| line)
}
