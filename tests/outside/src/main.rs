//! Orders and payments: what customers have ordered and not yet received, and what they owe.

use std::process::ExitCode;

mod balances;
mod open_orders;
mod orders;
mod payments;

fn program() -> fleet::Builder {
    fleet::Fleet::builder()
        .topic(&orders::ORDERS)
        .topic(&payments::PAYMENTS)
        .projection::<open_orders::OpenOrders>()
        .projection::<balances::Balances>()
}

fn main() -> ExitCode {
    program().run()
}

#[test]
fn the_program_fits_together() {
    program().build().expect("no mistake");
}
