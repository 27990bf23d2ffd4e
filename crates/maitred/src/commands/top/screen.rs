//! The terminal as a screen: taken over, drawn on, and given back as it was.

use std::{
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The other screen, without a cursor.
const OPEN: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";

/// The screen of before, with its cursor.
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

/// The terminal, until this is dropped.
pub struct Screen {
    before: Termios,
}

impl Screen {
    /// Takes the terminal over: keys come one by one and unseen, and Ctrl-C is a key too, so that the terminal is given
    /// back before the process ends.
    pub fn open() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut own = before.clone();
        own.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        // A read ends after a tenth of a second, whether or not a key was pressed.
        own.special_codes[SpecialCodeIndex::VMIN] = 0;
        own.special_codes[SpecialCodeIndex::VTIME] = 1;
        tcsetattr(io::stdin(), OptionalActions::Flush, &own)?;
        let screen = Self { before };
        write(OPEN)?;
        Ok(screen)
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => (80, 24),
        }
    }

    /// Draws these lines over what was there.
    pub fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                text.push_str("\r\n");
            }
            text.push_str(line);
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        write(&text)
    }

    /// Waits for so long, or until somebody wants to leave: with q, Escape or Ctrl-C, or by closing the terminal.
    pub fn is_left_within(&mut self, time: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            let asked = Instant::now();
            let mut keys = [0; 16];
            let count = io::stdin().lock().read(&mut keys)?;
            // A terminal that is gone does not let a read wait.
            let is_gone = count == 0 && asked.elapsed() < Duration::from_millis(20);
            let keys = &keys[..count];
            if is_gone || keys.contains(&b'q') || keys.contains(&3) || keys == [0x1b] {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = write(CLOSE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
