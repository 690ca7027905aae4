//! A changed statement must be compiled in again: `query_file_scalar!`, and `query_file!` of what returns no rows, do not tell
//! Cargo which file they read.

fn main() {
    println!("cargo::rerun-if-changed=src");
}
