//! Tokens of a file, for those who have no issuer: the file has only what they hash to.

use std::collections::HashSet;
use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};

use crate::Identity;

/// How a token begins, so that it is known for one wherever it turns up.
const PREFIX: &str = "fleet_";

/// Random bytes of a token: nobody guesses it, so that one round of SHA-256 hides it.
const RANDOM: usize = 32;

/// Who has which token.
#[derive(Clone)]
pub struct Tokens(Vec<(String, [u8; 32])>);

/// A token that was just made.
pub struct Minted {
    /// What its bearer shows. It is written down nowhere else.
    pub token: String,
    /// The line of the file.
    pub line: String,
}

impl Tokens {
    /// Reads lines of a name and the SHA-256 of a token in hexadecimal. Empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// A line is no such thing, or a name comes twice; the message says which.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens: Vec<(String, [u8; 32])> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (Some(name), Some(hash), None) = (words.next(), words.next(), words.next()) else {
                return Err(format!("line {number} is not a name and a hash"));
            };
            let hash = hexadecimal(hash)
                .ok_or_else(|| format!("line {number}: the hash of {name} is not 64 hexadecimal digits"))?;
            if tokens.iter().any(|(known, _)| known == name) {
                return Err(format!("line {number}: there is a token of {name} already"));
            }
            tokens.push((name.to_owned(), hash));
        }
        if tokens.is_empty() {
            return Err("there is no token in it".to_owned());
        }
        Ok(Self(tokens))
    }

    /// Whose token it is. It takes the same time for every token of a length.
    pub(crate) fn find(&self, token: &str) -> Option<Identity> {
        let shown = digest(&SHA256, token.as_bytes());
        let mut found = None;
        for (name, hash) in &self.0 {
            if verify_slices_are_equal(hash, shown.as_ref()).is_ok() {
                found = Some(name);
            }
        }
        found.map(|name| Identity { name: name.clone(), subject: String::new(), groups: HashSet::new() })
    }

    /// A new token for `name`.
    ///
    /// # Errors
    /// The name is none that a line could hold, or the system has no random numbers.
    pub fn mint(name: &str) -> Result<Minted, String> {
        if name.is_empty() || name.starts_with('#') || !name.chars().all(|c| c.is_ascii_graphic()) {
            return Err(format!("{name:?} is no name: letters, digits and signs, without spaces"));
        }
        let mut random = [0; RANDOM];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| "the system has no random numbers".to_owned())?;
        let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random));
        let hash = digest(&SHA256, token.as_bytes());
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Minted { token, line: format!("{name} {hash}") })
    }
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("line", &self.line).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_made_is_known_by_its_line_and_no_other_is() {
        let (ada, bob) = (Tokens::mint("ada").expect("a token"), Tokens::mint("bob").expect("a token"));
        let tokens = Tokens::parse(&format!("# people\n\n{}\n{}\n", ada.line, bob.line)).expect("tokens");
        assert_eq!(tokens.find(&ada.token).map(|it| it.name), Some("ada".to_owned()));
        assert_eq!(tokens.find(&bob.token).map(|it| it.name), Some("bob".to_owned()));
        for other in ["", "fleet_", &ada.token[..ada.token.len() - 1], &format!("{}x", ada.token), &ada.line] {
            assert_eq!(tokens.find(other), None, "{other}");
        }
        let shown = format!("{tokens:?} {ada:?}");
        assert!(!shown.contains(&ada.token) && shown.contains("ada"), "{shown}");
    }

    #[test]
    fn a_file_that_is_none_of_tokens_is_refused_with_its_line() {
        let hash = "a".repeat(64);
        for (text, reason) in [
            (String::new(), "no token"),
            ("ada".to_owned(), "line 1 is not"),
            (format!("\nada {hash} more"), "line 2 is not"),
            ("ada abc".to_owned(), "not 64 hexadecimal"),
            (format!("ada {}", "é".repeat(32)), "not 64 hexadecimal"),
            (format!("ada {hash}\nada {hash}"), "line 2: there is a token of ada already"),
        ] {
            let refused = Tokens::parse(&text).expect_err(&text);
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}
