//! What this program is called, and its commands where something is said of them: an author's program has another name than `fleet`.

use std::path::{Path, PathBuf};

use crate::examples;

/// As what this program was called.
pub fn program() -> String {
    let called = std::env::args_os().next().map(PathBuf::from);
    let name = called.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "fleet".to_owned())
}

/// What is said of the commands of `fleet`, in the name of this program.
pub fn named(text: &str) -> String {
    let program = program();
    if program == "fleet" { text.to_owned() } else { of(text, &program) }
}

/// The same, of a program of that name.
pub fn of(text: &str, program: &str) -> String {
    let mut parts = text.split("fleet ");
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let word = part.split(|letter: char| !letter.is_ascii_lowercase() && letter != '-').next().unwrap_or_default();
        said.push_str(if examples::commands().any(|command| command == word) { program } else { "fleet" });
        said.push(' ');
        said.push_str(part);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_program_that_says_them() {
        let text =
            "run `fleet migrate`; the fleet is ready, the fleet devotes itself, and fleet dead-letters list says more";
        let said =
            "run `shop migrate`; the fleet is ready, the fleet devotes itself, and shop dead-letters list says more";
        assert_eq!(of(text, "shop"), said);
    }
}
