//! The program: `fleet` with the topics and read models of the sample.

use std::process::ExitCode;

fn main() -> ExitCode {
    projections::program().run()
}
