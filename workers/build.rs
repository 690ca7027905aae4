//! A changed migration must be compiled in again, and a changed statement: sqlx says so of those alone that return rows.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-changed=src");
}
