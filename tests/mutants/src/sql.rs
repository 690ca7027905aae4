//! How a statement can be changed and still be one: conditions and locks left out, limits moved by one, orders lost.
//!
//! SQL is not parsed. The house writes one condition a line, which is all that this must know.

/// A changed statement, and what was changed in which of its lines (from 1).
pub struct Mutant {
    pub line: usize,
    pub what: String,
    pub sql: String,
}

/// What is written instead of what. A replacement that makes no sense where it is, the server refuses.
const INSTEAD: [(&str, &str); 12] = [
    (" <= ", " < "),
    (" < ", " <= "),
    (" >= ", " > "),
    (" > ", " >= "),
    (" + 1", " + 2"),
    (" - 1", " - 0"),
    ("greatest(", "least("),
    ("is not null", "is null"),
    ("max(", "min("),
    (" desc", " asc"),
    ("coalesce(aggregate.held, false)", "coalesce(aggregate.held, true)"),
    ("order by", "order by random(),"),
];

/// Lines that can go: a lock, an order, a limit.
const LINES: [&str; 3] = ["for update", "for share", "limit "];

pub fn mutants(sql: &str) -> Vec<Mutant> {
    let lines: Vec<&str> = sql.lines().collect();
    let mut mutants = Vec::new();
    let mut with = |index: usize, line: String, what: String| {
        let mut changed = lines.clone();
        changed[index] = &line;
        mutants.push(Mutant { line: index + 1, what, sql: changed.join("\n") });
    };
    for (index, line) in lines.iter().enumerate() {
        let said = line.trim();
        if said.starts_with("--") {
            continue;
        }
        if LINES.iter().any(|word| said.starts_with(word)) {
            with(index, String::new(), format!("`{said}` is left out"));
        } else if let Some(end) = said.strip_suffix(" for update") {
            with(index, end.to_owned(), "`for update` is left out".to_owned());
        }
        if let Some(condition) = ["and ", "where ", "or "].iter().find_map(|word| said.strip_prefix(word)) {
            for part in parts(condition) {
                let neutral = if said.starts_with("or ") { "false" } else { "true" };
                with(index, line.replacen(part, neutral, 1), format!("`{part}` is taken for {neutral}"));
            }
        }
        for (word, instead) in INSTEAD {
            if line.contains(word) {
                with(
                    index,
                    line.replacen(word, instead, 1),
                    format!("`{}` instead of `{}` in `{said}`", instead.trim(), word.trim()),
                );
            }
        }
    }
    mutants
}

/// The conditions of a line. One that goes on in the next line, or ends what began before, cannot be taken out alone.
fn parts(condition: &str) -> Vec<&str> {
    let condition = condition.trim_end_matches(';');
    let balanced = |text: &&str| text.matches('(').count() == text.matches(')').count() && !text.contains("case ");
    condition
        .split(" and ")
        .map(|part| part.split(" for update").next().unwrap_or(part))
        .map(str::trim)
        .filter(balanced)
        // A range is one condition.
        .filter(|part| !part.contains("between") && !part.starts_with('$') && !part.is_empty())
        .collect()
}
