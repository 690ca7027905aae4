//! Examples, for the end of every `--help` and for the manual: what is typed, and what for.

use clap::Command;

/// A command, the words that follow its program's name, and its examples.
type Examples = (&'static str, &'static [(&'static str, &'static str)]);

const ORDER: &str = "01972c3e-5d4f-7a10-9c1b-2f6f1f0a7b11";
const EVENT: &str = "01972c3e-6a20-7c44-8e0d-55a1c9d27f30";

/// The first words of the commands; some more than once.
pub fn commands() -> impl Iterator<Item = &'static str> {
    EXAMPLES.iter().map(|(path, _)| path.split(' ').next().unwrap_or(path))
}

/// In the order of the commands.
#[rustfmt::skip]
const EXAMPLES: &[Examples] = &[
    ("dev", &[
        ("dev", "everything in one process, on what it finds or starts"),
        ("dev --bus embedded --no-sample", "without Java, and with an empty store"),
        ("dev --fresh", "begin anew"),
    ]),
    ("event-store", &[("event-store --database-url postgres://localhost/fleet --auth tokens:FILE --roles-file roles.json", "with tokens of a file")]),
    ("worker", &[
        ("worker --topic order-events --database-url postgres://localhost/fleet", "pulls from the topic's subscription"),
        ("worker --topic order-events --database-url postgres://localhost/fleet --until-settled", "catches up, and ends"),
    ]),
    ("build", &[("build orders --database-url postgres://localhost/fleet", "builds what `fleet rebuild orders` has asked for")]),
    ("admin", &[("admin --database-url postgres://localhost/fleet --http 127.0.0.1:8080", "for this machine only")]),
    ("migrate", &[
        ("migrate --database-url postgres://localhost/fleet", "makes the tables, or brings them up to date"),
        ("migrate --database-url postgres://localhost/fleet --grant append=store,worker:order-events=orders", "and gives each user its rights"),
    ]),
    ("import", &[
        ("import history.ndjson.gz", "a file; again, and what has an idempotency key is not appended twice"),
        ("import - --json", "reads a pipe, and prints the result as JSON"),
    ]),
    ("export", &[("export history.ndjson.gz", "the whole store")]),
    ("doctor", &[
        ("doctor", "what is wrong, and which runbook to open"),
        ("doctor --whole --late-after 60", "compares all of the store"),
    ]),
    ("status", &[
        ("status", "how late is what"),
        ("status --watch", "again every second"),
        ("status --json --http https://admin.example.com", "for a program, of another fleet"),
    ]),
    ("inspect", &[("inspect ORDER", "the events of one aggregate, and what each read model waits for")]),
    ("rows", &[
        ("rows orders", "the tables of a read model, and their columns"),
        ("rows orders TABLE --where COLUMN=VALUE --reason TICKET-1", "rows of one of them"),
        ("rows orders TABLE --where COLUMN --generation 7 --reason TICKET-1", "those without a value, of a generation that is not read yet"),
    ]),
    ("healthcheck", &[("healthcheck --http 127.0.0.1:8080", "exit code 0: ready")]),
    ("wait-for", &[("wait-for orders --aggregate ORDER --version 3", "until the read model has what was appended")]),
    ("replay", &[
        ("replay orders --dry-run", "counts what is not settled"),
        ("replay orders --from-position 1000 --rate 500 --reason TICKET-1", "applies it, no faster than that"),
    ]),
    ("rebuild", &[
        ("rebuild orders --dry-run", "how long it would take, and how much room"),
        ("rebuild orders --parts 2 --reason TICKET-1", "builds it, beside what is read"),
    ]),
    ("verify", &[("verify orders --reason TICKET-1", "compares every row with the store")]),
    ("promote", &[
        ("promote orders --dry-run", "what would be exchanged, and whether anything differs"),
        ("promote orders --reason TICKET-1", "puts the newest generation in place"),
    ]),
    ("rollback", &[("rollback orders --reason TICKET-1", "puts the one before back")]),
    ("retire", &[("retire orders --generation 1 --reason TICKET-1", "drops its tables")]),
    ("generations", &[("generations orders", "which is read, which is built, which can be taken back to")]),
    ("pause", &[("pause orders --for 30m --reason TICKET-1", "nothing is applied to it for half an hour")]),
    ("resume", &[("resume orders --reason TICKET-1", "it goes on where it was")]),
    ("dead-letters", &[("dead-letters list", "what is parked")]),
    ("dead-letters list", &[("dead-letters list --projection orders --parked-for write_failed", "of one read model, for one class of reason")]),
    ("dead-letters show", &[("dead-letters show ORDER --payload --reason TICKET-1", "with what it carries; that you looked is recorded")]),
    ("dead-letters retry", &[
        ("dead-letters retry --projection orders", "counts"),
        ("dead-letters retry --projection orders --yes --reason 'fixed in 1.4'", "tries them again, in order"),
    ]),
    ("dead-letters discard", &[("dead-letters discard ORDER --event-id EVENT --error 'no such customer' --reason TICKET-1", "goes on without it; as `list` has them")]),
    ("dead-letters discarded", &[("dead-letters discarded --limit 10", "what the read models go on without")]),
    ("unreadable", &[("unreadable list", "events that no reader can be given")]),
    ("unreadable list", &[("unreadable list --json", "for a program")]),
    ("unreadable show", &[("unreadable show 4711", "by its position")]),
    ("refused", &[("refused list", "messages that the bus never took")]),
    ("refused list", &[("refused list --json", "for a program")]),
    ("operations", &[("operations list", "what was asked for")]),
    ("operations list", &[("operations list --limit 10", "the newest")]),
    ("operations show", &[("operations show ORDER", "everything about one")]),
    ("operations differences", &[("operations differences ORDER", "which rows, and in which columns")]),
    ("operations pause", &[("operations pause ORDER --reason TICKET-1", "until it is resumed")]),
    ("operations resume", &[("operations resume ORDER --reason TICKET-1", "it goes on")]),
    ("operations cancel", &[("operations cancel ORDER --reason TICKET-1", "ends it")]),
    ("operations rate", &[
        ("operations rate ORDER 500 --for 2h --reason TICKET-1", "slows it down"),
        ("operations rate ORDER --none --reason TICKET-1", "lets it go again"),
    ]),
    ("operations stop", &[("operations stop --for 1h --reason TICKET-1", "all of them, for an hour")]),
    ("operations go-on", &[("operations go-on --reason TICKET-1", "all of them")]),
    ("operations follow", &[("operations follow ORDER", "waits until it has ended")]),
    ("runbook", &[
        ("runbook", "all of them, with what is seen"),
        ("runbook ProjectionStalled", "what to do about that alert"),
    ]),
    ("locks", &[("locks", "who waits for whom")]),
    ("leases", &[("leases", "which relay has which topic, and which versions of the code are at work")]),
    ("audit", &[("audit --limit 20", "the newest twenty")]),
    ("prune", &[
        ("prune", "says what would go"),
        ("prune --yes --reason TICKET-1", "deletes it"),
    ]),
    ("token", &[("token ada@example.com", "for somebody without an account with Google")]),
    ("topics", &[("topics --json", "what Terraform is given")]),
    ("schema", &[("schema -- cargo sqlx prepare", "checks statements against tables that are as they will be")]),
    ("openapi", &[("openapi", "the description of the admin API")]),
    ("completion", &[("completion bash", "what bash needs")]),
    ("man", &[("man /usr/local/share/man/man1", "one page for each command")]),
];

/// What the examples of a program name.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    pub program: &'a str,
    pub topic: &'a str,
    pub projection: &'a str,
}

/// Gives each command its examples, with what there is in this program.
pub fn on(mut command: Command, named: Named<'_>) -> Command {
    for (path, examples) in EXAMPLES {
        let widest = examples.iter().map(|(typed, _)| named.in_place(typed).len()).max().unwrap_or_default().min(MOST);
        let lines = examples.iter().map(|(typed, what)| {
            let (typed, what) = (named.in_place(typed), named.in_place(what));
            if typed.len() > MOST {
                format!("\n  {} {typed}\n        {what}", named.program)
            } else {
                format!("\n  {} {typed:<widest$}  {what}", named.program)
            }
        });
        let help = format!("Examples:{}", lines.collect::<String>());
        command = at(command, &mut path.split(' '), help);
    }
    command
}

impl Named<'_> {
    fn in_place(self, text: &str) -> String {
        let word = |word: &str| match word {
            "orders" => self.projection.to_owned(),
            word => word.replace("ORDER", ORDER).replace("EVENT", EVENT).replace("order-events", self.topic),
        };
        text.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }
}

/// What is longer has its explanation below it, so that both fit into 80 characters.
const MOST: usize = 34;

fn at<'a>(command: Command, path: &mut impl Iterator<Item = &'a str>, help: String) -> Command {
    match path.next() {
        Some(name) => command.mut_subcommand(name, |inner| at(inner, path, help)),
        None => command.after_help(help),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn all(command: &Command, path: &str, seen: &mut Vec<(String, Command)>) {
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let path = format!("{path} {}", inner.get_name()).trim().to_owned();
            all(inner, &path, seen);
            seen.push((path, inner.clone()));
        }
    }

    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (index, part) in line.split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(part.to_owned())
            } else {
                words.extend(part.split_whitespace().map(str::to_owned))
            }
        }
        words
    }

    #[test]
    fn every_command_has_examples_that_are_commands_and_every_argument_says_what_it_means() {
        let mut seen = Vec::new();
        all(&Cli::command(), "", &mut seen);
        let mut without: Vec<_> = seen.iter().map(|(path, _)| path.as_str()).collect();
        without.retain(|path| !EXAMPLES.iter().any(|(of, _)| of == path));
        assert_eq!(without, [""; 0], "have no example");
        for (path, examples) in EXAMPLES {
            for (typed, what) in *examples {
                assert!(typed.starts_with(path) && !what.is_empty(), "{path}: {typed}");
                let typed = words(&format!("fleet {}", typed.replace("ORDER", ORDER).replace("EVENT", EVENT)));
                if let Err(error) = Cli::command().try_get_matches_from(&typed) {
                    panic!("{typed:?}: {error}");
                }
            }
        }
        let silent = seen.iter().flat_map(|(path, command)| {
            let silent = command.get_arguments().filter(|argument| argument.get_help().is_none());
            silent.map(move |argument| format!("{path}: {}", argument.get_id()))
        });
        assert_eq!(silent.collect::<Vec<_>>(), [""; 0], "say nothing of what they mean");
    }

    #[test]
    fn the_examples_fit_into_eighty_characters() {
        let mut seen = Vec::new();
        all(
            &on(Cli::command(), Named { program: "fleet", topic: "order-events", projection: "orders" }),
            "",
            &mut seen,
        );
        for (path, command) in seen {
            let help = command.get_after_help().expect("examples").to_string();
            for line in help.lines().filter(|line| !line.starts_with("  fleet ")) {
                assert!(line.len() <= 80, "{path}: {line}");
            }
        }
    }
}
