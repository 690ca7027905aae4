//! The faults that really happen, one after the other. Which test stands for which: docs/reliability.md.

mod answers;
mod connections;
mod deliveries;
mod fences;
mod growth;
mod kills;
mod points;
mod refusals;
mod stores;
