//! A changed statement must be compiled in again: sqlx says so of those alone that return rows.

fn main() {
    println!("cargo::rerun-if-changed=src");
}
