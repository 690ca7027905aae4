//! Standard output, whose reader may have had enough (`| head`).

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use console::{Style, Term};
use indicatif::MultiProgress;
use serde::Serialize;

use crate::called;

/// Lines that stay at the bottom of the terminal, of the one command that has such. What else is written goes above them.
static LIVE: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Nobody reads on. The command has nothing left to do, and nothing to complain about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub struct Closed;

/// Writes a line.
///
/// # Errors
/// [`Closed`], or it cannot be written.
pub fn line(text: impl Display) -> Result<()> {
    said(above(|| writeln!(io::stdout().lock(), "{text}")))
}

/// Writes a line that speaks of commands.
///
/// # Errors
/// As [`line`].
pub fn advise(text: &str) -> Result<()> {
    line(called::named(text))
}

/// Whether there are such lines.
static SHOWS: AtomicBool = AtomicBool::new(false);

/// The lines that stay at the bottom of the terminal.
pub fn live() -> &'static MultiProgress {
    SHOWS.store(true, Ordering::Relaxed);
    &LIVE
}

/// Writes something to the terminal, above what stays at its bottom.
pub fn above<T>(write: impl FnOnce() -> T) -> T {
    if SHOWS.load(Ordering::Relaxed) { LIVE.suspend(write) } else { write() }
}

/// Characters of a line, if what is written goes to a terminal.
pub fn columns() -> Option<usize> {
    let size = Term::stdout().size_checked().filter(|_| io::stdout().is_terminal());
    size.map(|(_, columns)| usize::from(columns))
}

/// Grey, on a terminal that has colours and for somebody who wants them (`NO_COLOR`).
pub fn dim(text: &str) -> String {
    Style::new().dim().for_stdout().apply_to(text).to_string()
}

/// Writes a value as JSON on one line, for programs.
///
/// # Errors
/// As [`line`].
pub fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string(value).context("writing JSON")?)
}

/// Writes a value as JSON for people: what it carries as it was written as well, digit for digit.
///
/// # Errors
/// As [`line`].
pub fn pretty(value: &impl Serialize) -> Result<()> {
    line(indented(&serde_json::to_string(value).context("writing JSON")?))
}

/// Writes one value: on one line for programs, and as people read it otherwise.
///
/// # Errors
/// As [`line`].
pub fn one(value: &impl Serialize, as_json: bool) -> Result<()> {
    if as_json { json(value) } else { pretty(value) }
}

/// Writes a text at once, behind what moves the cursor to where it belongs.
///
/// # Errors
/// As [`line`].
pub fn text(cursor: &str, text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    said(out.write_all(format!("{cursor}{}", called::named(text)).as_bytes()).and_then(|()| out.flush()))
}

/// What came of writing for whoever reads.
///
/// # Errors
/// As [`line`].
pub fn said(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => written.context("writing the output"),
    }
}

/// Writes a line to standard error. If nobody reads that, there is nobody to tell.
pub fn complain(text: impl Display) {
    let _ = above(|| writeln!(io::stderr().lock(), "{}", called::named(&text.to_string())));
}

/// JSON with an element a line. Only white space is added.
fn indented(json: &str) -> String {
    let (mut text, mut depth) = (String::with_capacity(2 * json.len()), 0);
    let (mut in_string, mut escaped) = (false, false);
    let new_line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    };
    let mut letters = json.chars().peekable();
    while let Some(letter) = letters.next() {
        if in_string {
            text.push(letter);
            in_string = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            continue;
        }
        match letter {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                text.push(letter);
                while letters.next_if(char::is_ascii_whitespace).is_some() {}
                match letters.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => text.push(end),
                    None => {
                        depth += 1;
                        new_line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = usize::saturating_sub(depth, 1);
                new_line(&mut text, depth);
                text.push(letter);
            }
            ',' => {
                text.push(letter);
                new_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            letter => {
                in_string = letter == '"';
                text.push(letter);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn indented_json_looks_as_serde_json_writes_it_and_keeps_every_digit() {
        for json in [
            r#"{"a":[1,{"b":null}],"c":{},"d":[],"e":"x\\","f":"{\"a\": [1,2]}"}"#,
            "[]",
            r#""a:b""#,
            "true",
            r#" { "a" : [ ] , "b" : [ 1 , 2 ] } "#,
        ] {
            let value: Value = serde_json::from_str(json).expect(json);
            assert_eq!(indented(json), serde_json::to_string_pretty(&value).expect(json));
        }
        let long = "123456789012345678901234567890.10";
        assert_eq!(indented(&format!(r#"{{"n":{long}}}"#)), format!("{{\n  \"n\": {long}\n}}"));
    }
}
