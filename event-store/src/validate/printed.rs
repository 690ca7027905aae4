//! What a JSON text becomes when Postgres prints it from jsonb: how many bytes, without any floating point.
//!
//! jsonb keeps numbers as `numeric` and prints them in full: `1e-16383` has 8 characters as it is sent and 16,385 as it is
//! read. It keeps no spaces and prints one after each comma and colon, and it prints strings as UTF-8 with the escapes
//! that JSON needs. Of keys that are there twice it keeps the last, so that this is a bound and not a measure.

use std::fmt;

/// The most characters that one number may print. Every IEEE double has fewer, however it is written.
pub const MAX_NUMBER: u64 = 1000;

/// The most characters of a path that an error names.
const MAX_PATH: usize = 100;

/// A number that prints too many characters.
#[derive(Debug, PartialEq, Eq)]
pub struct LongNumber {
    /// Where it is: `a.b[3]`, shortened.
    path: String,
    characters: u64,
}

impl fmt::Display for LongNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, characters } = self;
        write!(
            f,
            "the number at {path} has {characters} characters when it is written out; at most {MAX_NUMBER}: \
             send it as a string"
        )
    }
}

/// The most bytes that jsonb prints for `json`, which must be valid JSON.
///
/// # Errors
/// The first number that prints more than [`MAX_NUMBER`] characters.
pub fn bytes(json: &str) -> Result<usize, LongNumber> {
    let text = json.as_bytes();
    let (mut at, mut bytes) = (0, 0);
    while let Some(&byte) = text.get(at) {
        let (read, printed) = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => (1, 0),
            b',' | b':' => (1, 2),
            b'"' => string(&text[at..]),
            b'-' | b'0'..=b'9' => {
                let (read, characters) = number(&text[at..]);
                if characters > MAX_NUMBER {
                    return Err(LongNumber { path: path(text, at), characters });
                }
                (read, characters as usize)
            }
            _ => (1, 1),
        };
        at += read;
        bytes += printed;
    }
    Ok(bytes)
}

/// Bytes read of a string with its quotes, and printed for it.
fn string(text: &[u8]) -> (usize, usize) {
    let (mut at, mut printed) = (1, 2);
    loop {
        let escaped = match (text.get(at), text.get(at + 1)) {
            (None | Some(b'"'), _) => return (at + 1, printed),
            (Some(b'\\'), Some(b'u')) => {
                let code = text.get(at + 2..at + 6).and_then(|hex| std::str::from_utf8(hex).ok());
                (6, character(code.and_then(|hex| u16::from_str_radix(hex, 16).ok()).unwrap_or(0)))
            }
            (Some(b'\\'), Some(b'/')) => (2, 1),
            (Some(b'\\'), _) => (2, 2),
            _ => (1, 1),
        };
        at += escaped.0;
        printed += escaped.1;
    }
}

/// Bytes printed for a UTF-16 code unit; two of a pair make the four bytes of their character.
fn character(unit: u16) -> usize {
    match unit {
        0x08 | 0x09 | 0x0a | 0x0c | 0x0d | 0x22 | 0x5c => 2,
        0..0x20 => 6,
        0x20..0x80 => 1,
        0x80..0x800 | 0xd800..0xe000 => 2,
        _ => 3,
    }
}

/// Bytes read of a number, and characters printed for it by `numeric`: as many digits after the point as it has after
/// its exponent is worked in, and no sign for nothing.
fn number(text: &[u8]) -> (usize, u64) {
    let negative = text[0] == b'-';
    let (mut at, mut point, mut digits) = (usize::from(negative), None, 0u64);
    let mut leading_zeros = None;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'.' => point = Some(digits),
            b'0'..=b'9' => {
                if byte != b'0' && leading_zeros.is_none() {
                    leading_zeros = Some(digits);
                }
                digits += 1;
            }
            _ => break,
        }
        at += 1;
    }
    let mut exponent = 0i64;
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        let down = text.get(at) == Some(&b'-');
        at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
        while let Some(digit @ b'0'..=b'9') = text.get(at) {
            exponent = exponent.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
            at += 1;
        }
        exponent = if down { -exponent } else { exponent };
    }
    let before_point = point.unwrap_or(digits) as i64;
    let after_point = (digits as i64 - before_point).saturating_sub(exponent).max(0) as u64;
    let whole =
        leading_zeros.map_or(1, |zeros| before_point.saturating_add(exponent).saturating_sub(zeros as i64).max(1));
    let sign = u64::from(negative && leading_zeros.is_some());
    (at, sign + whole as u64 + if after_point > 0 { after_point + 1 } else { 0 })
}

/// The way to the value that begins at `to`. Walks again what was walked: only an error needs it.
fn path(text: &[u8], to: usize) -> String {
    enum Within {
        Object(String),
        Array(usize),
    }
    let mut way = Vec::new();
    let (mut at, mut key) = (0, None);
    while at < to {
        match text[at] {
            b'{' => way.push(Within::Object(String::new())),
            b'[' => way.push(Within::Array(0)),
            b'}' | b']' => drop(way.pop()),
            b',' => {
                if let Some(Within::Array(index)) = way.last_mut() {
                    *index += 1;
                }
            }
            b':' => {
                if let (Some(Within::Object(name)), Some(key)) = (way.last_mut(), key.take()) {
                    *name = key;
                }
            }
            b'"' => {
                let (read, _) = string(&text[at..]);
                let inside = text.get(at + 1..at + read - 1).unwrap_or_default();
                key = Some(String::from_utf8_lossy(inside).chars().take(MAX_PATH).collect());
                at += read - 1;
            }
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for step in way {
        match step {
            Within::Array(index) => path.push_str(&format!("[{index}]")),
            Within::Object(name) if path.is_empty() => path.push_str(&name),
            Within::Object(name) => path.push_str(&format!(".{name}")),
        }
    }
    match path.char_indices().nth(MAX_PATH) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_in_full() {
        for (number, printed) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00", "0.00"),
            ("17", "17"),
            ("-1.50", "-1.50"),
            ("1e3", "1000"),
            ("1.5e1", "15"),
            ("1.5E+0", "1.5"),
            ("12.5e-3", "0.0125"),
            ("0.001e3", "1"),
            ("0.0012e3", "1.2"),
            ("100e-1", "10.0"),
            ("0e3", "0"),
            ("0e-3", "0.000"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
        ] {
            assert_eq!(bytes(number), Ok(printed.len()), "{number}");
        }
    }

    #[test]
    fn any_double_may_be_sent_and_little_more() {
        for number in ["5e-324", "1.7976931348623157e308", "-6.02214076e23", "2.2250738585072014E-308"] {
            bytes(number).expect(number);
        }
        for (number, characters) in
            [("1e-16383", 16_385), ("1e-16384", 16_386), ("0e-16383", 16_385), ("1e1000", 1001), ("-1e-1000", 1003)]
        {
            assert_eq!(bytes(number).expect_err(number).characters, characters, "{number}");
        }
        bytes("1e99999999999999999999999").expect_err("an exponent that no integer holds");
        bytes("0.1e-99999999999999999999999").expect_err("the same downwards");
    }

    #[test]
    fn strings_print_as_text_with_the_escapes_that_json_needs() {
        for (sent, printed) in [
            (r#""""#, r#""""#),
            (r#""a\"b\\\n""#, r#""a\"b\\\n""#),
            (r#""\/""#, r#""/""#),
            (r#""\u00e9""#, "\"é\""),
            (r#""\u20ac\ud83d\ude00""#, "\"€😀\""),
            (r#""\u0001\u000a\u0022""#, r#""\u0001\n\"""#),
            (r#"{"a":[1,true,{"b":null}],"c":{}}"#, r#"{"a": [1, true, {"b": null}], "c": {}}"#),
            (" [ ] ", "[]"),
        ] {
            assert_eq!(bytes(sent), Ok(printed.len()), "{sent}");
        }
    }

    #[test]
    fn an_error_names_the_number() {
        let wrong = |json| bytes(json).expect_err("too long").path;
        assert_eq!(wrong(r#"{"a":{"b":[1,"x,]",[2,1e-5000]]},"c":1}"#), "a.b[2][1]");
        assert_eq!(wrong(r#"{"ok":1,"a b":1e5000}"#), "a b");
        let long = format!(r#"{{"{}":1e5000}}"#, "k".repeat(5000));
        assert_eq!(wrong(&long).chars().count(), MAX_PATH);
    }
}
