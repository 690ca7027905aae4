//! The copy of the tree: what is in it, what is changed in it, and how it gets to the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{code, sql};

/// A change that can be turned on in the built copy.
pub struct Mutant {
    /// Where, from the root of the tree.
    pub file: String,
    pub line: usize,
    pub what: String,
    pub switch: Switch,
}

pub enum Switch {
    /// A number in the code.
    Code(u32),
    /// A statement, and the one that is sent instead.
    Sql { statement: String, instead: String },
}

/// Content by name, from the root of the tree.
pub struct Tree(BTreeMap<String, Vec<u8>>);

impl Tree {
    /// All that git knows of, or would.
    pub fn of(root: &Path) -> Result<Self> {
        let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let listed = Command::new("git").args(arguments).current_dir(root).output()?;
        ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
        let mut files = BTreeMap::new();
        for name in String::from_utf8(listed.stdout)?.split('\0') {
            let path = root.join(name);
            if path.is_file() && !name.starts_with("tests/mutants/") {
                files.insert(name.to_owned(), fs::read(path)?);
            }
        }
        Ok(Self(files))
    }

    fn text(&self, name: &str) -> Result<&str> {
        let content = self.0.get(name).with_context(|| format!("there is no {name}"))?;
        Ok(std::str::from_utf8(content)?)
    }

    /// The names of the source files at `path`, which is one or a folder of them.
    pub fn sources(&self, path: &str) -> Result<Vec<String>> {
        let folder = format!("{}/", path.trim_end_matches('/'));
        let names: Vec<_> = self
            .0
            .keys()
            .filter(|name| name.ends_with(".rs") && (*name == path || name.starts_with(&folder)))
            .cloned()
            .collect();
        ensure!(!names.is_empty(), "there is no source at {path}");
        Ok(names)
    }

    /// Puts switches into these files, and what they need into their crates.
    pub fn switch(&mut self, names: &[String]) -> Result<Vec<Mutant>> {
        let mut mutants = Vec::new();
        let mut next = 1;
        let mut limits = BTreeSet::new();
        for name in self.0.keys().filter(|name| name.ends_with(".rs") && !name.starts_with("tests/")) {
            let [integers, _] = code::constants(self.text(name)?).with_context(|| name.clone())?;
            limits.extend(integers);
        }
        let mut crates = BTreeSet::new();
        for name in names {
            let (folder, _) = name.split_once('/').context("a file of a crate")?;
            // The same name may be a time here and a number there.
            let [_, others] = code::constants(self.text(name)?)?;
            let limits = limits.difference(&others).cloned().collect();
            let switched = code::switched(self.text(name)?, next, &limits).with_context(|| name.clone())?;
            for mutant in switched.mutants {
                next = next.max(mutant.id + 1);
                let code::Mutant { id, line, what } = mutant;
                mutants.push(Mutant { file: name.clone(), line, what, switch: Switch::Code(id) });
            }
            for said in switched.statements {
                let file = if said.is_file { format!("{folder}/{}", said.text) } else { name.clone() };
                let statement = if said.is_file { self.text(&file)?.to_owned() } else { said.text };
                // The same file may be sent from several places, and the lines of what stands in the code begin there.
                let before = if said.is_file { 0 } else { said.line - 1 };
                for mutant in sql::mutants(&statement) {
                    let (file, line) = (file.clone(), before + mutant.line);
                    let switch = Switch::Sql { statement: statement.clone(), instead: mutant.sql };
                    mutants.push(Mutant { file, line, what: mutant.what, switch });
                }
            }
            self.0.insert(name.clone(), switched.source.into_bytes());
            crates.insert(folder.to_owned());
        }
        for folder in crates {
            let root = format!("{folder}/src/lib.rs");
            let with_switches = format!("{}\nmod switches;\n", self.text(&root)?);
            self.0.insert(root, with_switches.into_bytes());
            self.0.insert(format!("{folder}/src/switches.rs"), include_bytes!("../switches/switches.rs").to_vec());
        }
        // A file of SQL may be sent from several places.
        let mut seen = BTreeSet::new();
        mutants.retain(|it: &Mutant| {
            matches!(it.switch, Switch::Code(_)) || seen.insert((it.file.clone(), it.line, it.what.clone()))
        });
        Ok(mutants)
    }

    /// Has the crates use the sqlx that can change statements.
    pub fn switch_statements(&mut self) -> Result<()> {
        let workspace = self.text("Cargo.toml")?.to_owned();
        let line =
            workspace.lines().find(|line| line.starts_with("sqlx = {")).context("the workspace names no sqlx")?;
        let ours = "sqlx = { path = \"sqlx-switches\", package = \"sqlx-switches\" }";
        let real = line.replacen("sqlx = {", "real = { package = \"sqlx\",", 1);
        let package = include_str!("../switches/sqlx/Cargo.toml");
        self.0.insert("Cargo.toml".into(), workspace.replacen(line, ours, 1).into_bytes());
        self.0.insert("sqlx-switches/Cargo.toml".into(), format!("{package}{real}\n").into_bytes());
        self.0.insert("sqlx-switches/src/lib.rs".into(), include_bytes!("../switches/sqlx/src/lib.rs").to_vec());
        Ok(())
    }

    /// Writes what differs into `folder`, so that only that is built anew, and removes what is no longer there.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let list = folder.with_extension("files");
        for name in fs::read_to_string(&list).unwrap_or_default().lines() {
            if !self.0.contains_key(name) {
                let _gone = fs::remove_file(folder.join(name));
            }
        }
        for (name, content) in &self.0 {
            let path = folder.join(name);
            // Cargo writes the lock of the copy, which has one package more.
            if name == "Cargo.lock" && path.exists() || fs::read(&path).is_ok_and(|there| there == *content) {
                continue;
            }
            fs::create_dir_all(path.parent().expect("a file is in a folder"))?;
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
            let executable = [".ci/", "run"].iter().any(|part| name.contains(part));
            if executable {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
        }
        fs::create_dir_all(folder)?;
        let names: Vec<_> = self.0.keys().map(String::as_str).collect();
        fs::write(list, names.join("\n"))?;
        Ok(())
    }
}

/// The folder of the copy below the root of the tree.
pub fn folder(root: &Path) -> PathBuf {
    root.join("target/mutants/tree")
}
