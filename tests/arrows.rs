//! Who needs whom, within `fleet`: read off the text, as a person would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::harness::terraform::root;

/// Each module, and its text without comments and tests.
fn modules(folder: &Path, path: &[String], found: &mut BTreeMap<Vec<String>, String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
        let within = [path, std::slice::from_ref(&name)].concat();
        if entry.path().is_dir() {
            modules(&entry.path(), &within, found);
            continue;
        }
        let module = if matches!(&*name, "mod" | "lib") { path.to_vec() } else { within };
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap().lines();
        found.insert(module, code.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n"));
    }
}

/// The paths of a tree of imports: `a::{b, c::{d, e}}` has three.
fn paths(tree: &str) -> Vec<String> {
    let Some((before, within)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let within = within.trim_end().strip_suffix('}').unwrap();
    let (mut branches, mut depth) = (vec![String::new()], 0);
    for letter in within.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        match letter {
            ',' if depth == 0 => branches.push(String::new()),
            letter => branches.last_mut().unwrap().push(letter),
        }
    }
    let branches = branches.iter().filter(|branch| !branch.trim().is_empty());
    branches.flat_map(|branch| paths(branch)).map(|path| format!("{}{path}", before.trim())).collect()
}

/// The modules that one needs: those that it imports, and those that it names by way of them.
fn needed(module: &[String], code: &str, all: &BTreeMap<Vec<String>, String>) -> BTreeSet<Vec<String>> {
    let statements = format!("\n{code}").replace("\npub use ", "\nuse ");
    let imports = statements.split("\nuse ").skip(1).filter_map(|rest| rest.split(';').next());
    let mut needed = BTreeSet::new();
    for path in imports.flat_map(paths) {
        let mut names: Vec<_> = path.split("::").map(|name| name.trim().to_owned()).collect();
        let mut found = match &*names.remove(0) {
            "crate" => names,
            "super" => [&module[..module.len() - 1], &names].concat(),
            child => [module, &[child.to_owned()], &names].concat(),
        };
        // What is imported may be of a module, or the module.
        while !found.is_empty() && !all.contains_key(&found) {
            found.pop();
        }
        needed.insert(found);
    }
    for found in needed.clone() {
        let Some(name) = found.last() else { continue };
        for rest in code.split(&format!("{name}::")).skip(1) {
            let child: String = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            needed.insert([&found[..], &[child]].concat());
        }
    }
    needed.retain(|found| found != module && !found.is_empty() && all.contains_key(found));
    needed
}

#[test]
fn no_file_of_the_fleet_needs_one_that_needs_it() {
    let mut all = BTreeMap::new();
    modules(&root().join("fleet/src"), &[], &mut all);
    // What the library shows to others is for others.
    all.remove(&Vec::new());
    let mut arrows: BTreeMap<_, _> = all.iter().map(|(module, code)| (module, needed(module, code, &all))).collect();
    let count: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(count > 50, "{arrows:?}");
    // Whoever needs nobody that is left is in no circle.
    loop {
        let free: BTreeSet<_> =
            arrows.iter().filter(|(_, needed)| needed.is_empty()).map(|(module, _)| (*module).clone()).collect();
        if free.is_empty() {
            break;
        }
        arrows.retain(|module, _| !free.contains(*module));
        for needed in arrows.values_mut() {
            needed.retain(|module| !free.contains(module));
        }
    }
    assert!(arrows.is_empty(), "these need each other, or one that does: {arrows:#?}");
}

#[test]
fn a_tree_of_imports_is_all_of_its_paths() {
    assert_eq!(
        paths("crate::{cli, roles::{self, worker::Options}}"),
        ["crate::cli", "crate::roles::self", "crate::roles::worker::Options"]
    );
}
