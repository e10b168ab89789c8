//! A block of text that is drawn again and again: in place on a terminal, one after the other elsewhere.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios;
use tokio::sync::mpsc;

use crate::failure::Failure;

/// A place on standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
    drawn: usize,
}

impl Screen {
    /// At the cursor.
    pub(crate) fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            drawn: 0,
        }
    }

    /// Whether blocks replace each other.
    pub(crate) fn in_place(&self) -> bool {
        self.terminal
    }

    /// Draws the block, over the one before on a terminal.
    pub(crate) fn draw(&mut self, block: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        if !self.terminal {
            out.write_all(block.as_bytes())?;
            out.write_all(b"\n")?;
            out.flush()?;
            return Ok(());
        }
        let size = termios::tcgetwinsize(io::stdout()).ok();
        // A terminal that does not know its size says 0.
        let known = |length: u16, usual| if length == 0 { usual } else { usize::from(length) };
        let rows = size.map_or(24, |size| known(size.ws_row, 24)).max(4);
        let columns = size.map_or(80, |size| known(size.ws_col, 80)).max(20);
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}F", self.drawn));
        }
        text.push_str("\x1b[J");
        self.drawn = 0;
        // What does not fit would scroll, and then the cursor could not come back to the beginning.
        for line in block.lines().take(rows - 1) {
            text.push_str(&cut(line, columns));
            text.push_str("\x1b[0m\n");
            self.drawn += 1;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }
}

/// As many visible characters as fit; escape sequences take no room.
fn cut(line: &str, columns: usize) -> String {
    let mut text = String::with_capacity(line.len());
    let mut visible = 0;
    let mut escape = false;
    for char in line.chars() {
        if escape {
            escape = !char.is_ascii_alphabetic();
        } else if char == '\x1b' {
            escape = true;
        } else {
            visible += 1;
            if visible > columns {
                break;
            }
        }
        text.push(char);
    }
    text
}

/// Single key presses from a terminal. The terminal is as before when this is dropped.
#[derive(Debug)]
pub(crate) struct Keys {
    before: Option<termios::Termios>,
    presses: mpsc::Receiver<u8>,
}

impl Keys {
    /// From standard input; gives nothing when that is no terminal.
    pub(crate) fn new() -> Self {
        let (sender, presses) = mpsc::channel(16);
        let before = if io::stdin().is_terminal() && io::stdout().is_terminal() {
            without_lines()
        } else {
            None
        };
        if before.is_some() {
            // The thread blocks in a read and ends with the process.
            let reader = move || {
                let mut byte = [0];
                while let Ok(1) = rustix::io::read(io::stdin(), &mut byte) {
                    if sender.blocking_send(byte[0]).is_err() {
                        return;
                    }
                }
            };
            let _ = std::thread::Builder::new().name("keys".to_owned()).spawn(reader);
        }
        Self { before, presses }
    }

    /// Waits until `q` is pressed; for ever without a terminal.
    pub(crate) async fn quit(&mut self) {
        while let Some(key) = self.presses.recv().await {
            if key == b'q' || key == b'Q' {
                return;
            }
        }
        std::future::pending().await
    }
}

/// Switches the terminal to keys instead of lines; signals still work. The settings before.
fn without_lines() -> Option<termios::Termios> {
    let before = termios::tcgetattr(io::stdin()).ok()?;
    let mut keys = before.clone();
    keys.local_modes -= termios::LocalModes::ICANON | termios::LocalModes::ECHO;
    termios::tcsetattr(io::stdin(), termios::OptionalActions::Now, &keys).ok()?;
    Some(before)
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(io::stdin(), termios::OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn escapes_take_no_room() {
        assert_eq!(cut("\x1b[1mabc\x1b[0mdef", 4), "\x1b[1mabc\x1b[0md");
        assert_eq!(cut("abc", 4), "abc");
        assert_eq!(cut("äöü", 2), "äö");
    }
}
