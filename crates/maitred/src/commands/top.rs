//! `maitred top`: a running server, live in the terminal.

mod frame;
mod load;
mod screen;

use std::{
    io::{self, IsTerminal},
    thread::sleep,
    time::{Duration, Instant},
};

use self::{
    frame::Frame,
    load::{Load, Sample},
    screen::Screen,
};
use crate::{
    cli::Global,
    client::Client,
    exit::{Failure, Outcome},
    out,
    style::Style,
};

/// How often one looks.
const LOOK: Duration = Duration::from_secs(1);

/// How long a server that does not answer is looked for again: another process may be taking its place.
const AGAIN: Duration = Duration::from_secs(10);

/// The size of a frame where there is no terminal: as wide as it needs to be, with everything.
const BOUNDLESS: (usize, usize) = (usize::MAX, usize::MAX);

/// Shows the server until somebody presses q; one frame, where there is no terminal.
pub fn run(global: &Global) -> Outcome {
    let mut client = Client::find(global)?;
    let mut last = sample(&client)?;
    let style = Style::of(global.color, &io::stdout());
    if global.json || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        sleep(LOOK);
        let load = Load::between(&last, &sample(&client)?);
        return if global.json {
            out::line(serde_json::to_string_pretty(&load).unwrap_or_default())
        } else {
            out::text(&(Frame::of(&load, style).lines(BOUNDLESS).join("\n") + "\n"))
        };
    }
    let mut screen = Screen::open()?;
    screen.show(&[format!("maitred at {}: the first figures come in a second; q ends", client.place())])?;
    loop {
        if screen.is_left_within(LOOK)? {
            return Ok(());
        }
        let now = match sample(&client) {
            Ok(now) => now,
            Err(_) => match again(global, &mut screen)? {
                None => return Ok(()),
                Some(found) => {
                    client = found;
                    sample(&client)?
                }
            },
        };
        let load = Load::between(&last, &now);
        screen.show(&Frame::of(&load, style).lines(screen.size()))?;
        last = now;
    }
}

fn sample(client: &Client) -> Result<Sample, Failure> {
    Ok(Sample {
        at: Instant::now(),
        status: client.get("/api/v1/status")?,
        routes: client.get("/api/v1/routes")?,
        upstreams: client.get("/api/v1/upstreams")?,
    })
}

/// Finds the server again, or the one that has taken its place; `None` when nobody wants to wait for that.
fn again(global: &Global, screen: &mut Screen) -> Result<Option<Client>, Failure> {
    let deadline = Instant::now() + AGAIN;
    loop {
        match Client::find(global) {
            Err(_) if Instant::now() < deadline => {
                screen.show(&["maitred does not answer; looking for it".to_owned()])?;
                if screen.is_left_within(LOOK)? {
                    return Ok(None);
                }
            }
            found => return found.map(Some),
        }
    }
}
