//! Tags: what somebody was shown, in a few letters, so that he can say what he has seen. HTTP calls one an entity tag.

use std::fmt::{self, Write};

use aws_lc_rs::digest;
use serde::Serialize;

/// A name of what is shown, which changes whenever that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

/// What somebody says that he has seen, as the value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen(String);

impl Tag {
    /// That of a value, shown as JSON.
    pub fn of(shown: &impl Serialize) -> Self {
        let json = serde_json::to_vec(shown).expect("what is shown is JSON");
        let mut text = String::from('"');
        for byte in &digest::digest(&digest::SHA256, &json).as_ref()[..12] {
            write!(text, "{byte:02x}").expect("a String takes everything");
        }
        text.push('"');
        Self(text)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Seen {
    /// A list of tags with commas between them, or `*` for whatever is there.
    pub fn new(header: &str) -> Self {
        Self(header.to_owned())
    }

    /// Whether this is exactly what was seen: what a change asks. A weak tag (`W/"…"`) never is.
    pub fn is(&self, tag: &Tag) -> bool {
        self.any(|seen| seen == tag.0)
    }

    /// Whether this is what was seen, or as good as that: what a reader asks who has a copy.
    pub fn is_like(&self, tag: &Tag) -> bool {
        self.any(|seen| seen.strip_prefix("W/").unwrap_or(seen) == tag.0)
    }

    /// Tags of ours have no comma in them.
    fn any(&self, same: impl Fn(&str) -> bool) -> bool {
        self.0.split(',').map(str::trim).any(|seen| seen == "*" || same(seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_one_value_and_is_found_in_a_list() {
        let (tag, other) = (Tag::of(&[1, 2]), Tag::of(&[1, 3]));
        assert_eq!(tag, Tag::of(&[1, 2]));
        assert_ne!(tag, other);
        for (header, is, is_like) in [
            (format!("{tag}"), true, true),
            (format!("{other}, {tag}"), true, true),
            (format!("W/{tag}"), false, true),
            ("*".to_owned(), true, true),
            (format!("{other}"), false, false),
            (tag.to_string().replace('"', ""), false, false),
            (String::new(), false, false),
        ] {
            let seen = Seen::new(&header);
            assert_eq!((seen.is(&tag), seen.is_like(&tag)), (is, is_like), "{header}");
        }
    }
}
