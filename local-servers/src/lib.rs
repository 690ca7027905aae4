//! Finds or starts what a program on one machine needs: a Postgres, and a Pub/Sub emulator.
//!
//! A program in development, and its tests, resolve through the same two calls:
//!
//! ```no_run
//! # use local_servers::{DataDir, Emulator, Place, Postgres};
//! # async fn run() -> Result<(), local_servers::Error> {
//! let folder = DataDir::lock(".fleet".as_ref())?;                      // tests: Place::Throwaway
//! let given = std::env::var("DATABASE_URL").ok();
//! let postgres = Postgres::resolve(given.as_deref(), Place::DataDir(&folder)).await?;
//! println!("{}", postgres.choice());
//! let bus = Emulator::resolve(None, Place::DataDir(&folder)).await?;   // None: none is installed
//! // ... work with postgres.url() and bus.host() ...
//! postgres.stop().await?;
//! # Ok(()) }
//! ```
//!
//! | | was given | else | else |
//! | --- | --- | --- | --- |
//! | [`Postgres`] | used as it is | what is installed (15 or newer), with a cluster of its own | downloaded, once |
//! | [`Emulator`] | used as it is | Google's, if a Cloud SDK has it and Java runs | `None` |
//!
//! What always holds:
//! - **What is started dies with this process**, however that ends, by SIGKILL too: a watchdog (`watchdog.sh`) holds the other
//!   end of a pipe. It has a process group of its own, so that Ctrl-C reaches the program only, which may still need it.
//! - **One holder.** A [`DataDir`] is locked; who comes second is told which process holds it. A Postgres that a killed
//!   program left behind is ended before the next one is started.
//! - **Nobody else gets in.** Servers listen on 127.0.0.1. The cluster's password is drawn at random, in a file that only its
//!   user reads.
//! - **Started by root,** Postgres runs as another user, because it refuses root.
//! - A throwaway's files are gone when the process is, and Postgres does not wait for the disk there.
//! - Ports and clusters stay the same from one run to the next in the same folder.
//!
//! A cluster's superuser and its first database are called `fleet`. Nothing else here is of the fleet: this crate must not know
//! tables, topics, projections or settings, and is no part of a deployment. It is for Unix.

mod account;
mod child;
mod cluster;
mod data_dir;
mod download;
mod error;
mod home;
mod installed;
mod port;
mod postgres;
mod postmaster;
mod pubsub;
mod search;

pub use data_dir::{DataDir, Place};
pub use error::Error;
pub use postgres::Postgres;
pub use pubsub::Emulator;
