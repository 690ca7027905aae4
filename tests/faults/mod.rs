//! The faults that really happen, one after the other. Which test stands for which: docs/reliability.md.

mod answers;
mod batches;
mod broken;
mod bus_limits;
mod clocks;
mod connections;
mod deliveries;
mod fences;
mod foreign;
mod growth;
mod kills;
mod lag;
mod leases;
mod limits;
mod points;
mod primary;
mod races;
mod read_back;
mod refusals;
mod relaying;
mod relays;
mod sizes;
mod snapshots;
mod stores;
mod writing;
