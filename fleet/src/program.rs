//! A team's program: its topics and its read models, and the whole command line around them.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Command, FromArgMatches};
use events::Topic;
use read_model::{AnyProjection, Catalogue, Mistake, Projection, erased};

use crate::called;
use crate::cli::{self, Cli};
use crate::commands::out;
use crate::exit::Exit;
use crate::origin::Origin;

/// How long threads may still take when a command has ended.
const LAST: Duration = Duration::from_secs(2);

/// A fleet: what [`Fleet::builder`] makes of topics and read models.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use fleet::Fleet;
/// # use fleet::sqlx::PgConnection;
/// # use fleet::{DecodeError, Error, EventSet, Payload, Projection, Recorded, Topic};
/// # static ORDERS: Topic = Topic {
/// #     name: "order-events",
/// #     aggregate_types: &["Order"],
/// #     subscription: "order-projection",
/// #     retention_days: 7,
/// #     adopts_foreign_events: false,
/// # };
/// # struct OrderEvent;
/// # impl EventSet for OrderEvent {
/// #     const TOPICS: &'static [&'static Topic] = &[&ORDERS];
/// #     fn decode(_: &Payload) -> Result<Option<Self>, DecodeError> {
/// #         Ok(None)
/// #     }
/// # }
/// # struct OpenOrders;
/// # impl Projection for OpenOrders {
/// #     const NAME: &'static str = "open_orders";
/// #     const VERSION: u32 = 1;
/// #     const TABLES: &'static str = "create table open_orders (order_id uuid primary key)";
/// #     type Event = OrderEvent;
/// #     type Changes = ();
/// #     fn fold((): &mut (), _: &Recorded<OrderEvent>) {}
/// #     async fn write((): (), _: &mut PgConnection) -> Result<(), Error> {
/// #         Ok(())
/// #     }
/// # }
///
/// fn main() -> ExitCode {
///     Fleet::builder().topic(&ORDERS).projection::<OpenOrders>().run()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Fleet {
    catalogue: Catalogue,
    sample: Option<&'static [u8]>,
    origin: Origin,
}

/// Collects what a program is made of. The order of the calls is that in which people see topics and read models.
#[derive(Debug, Clone, Default)]
#[must_use = "nothing runs before `run`"]
pub struct Builder {
    topics: Vec<&'static Topic>,
    projections: Vec<&'static dyn AnyProjection>,
    sample: Option<&'static [u8]>,
    origin: Origin,
}

impl Fleet {
    /// A program without topics and read models, to add them to.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Its topics and read models.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The command line, with the names of this program's topics.
    pub fn command(&self) -> Command {
        cli::command(&self.catalogue)
    }

    /// The history that `fleet dev` loads at its first start.
    pub fn sample(&self) -> Option<&'static [u8]> {
        self.sample
    }
}

impl Builder {
    /// Adds a topic. Each topic has a relay, a subscription, and a worker.
    pub fn topic(mut self, topic: &'static Topic) -> Self {
        self.topics.push(topic);
        self
    }

    /// Adds a read model. The topics that it listens to have to be added too, with [`topic`](Self::topic).
    pub fn projection<P: Projection>(mut self) -> Self {
        self.projections.push(erased::<P>());
        self
    }

    /// What `fleet dev` loads into an empty store: append requests as `fleet import` takes them, compressed or not. Each
    /// event has an `event_id` and each request an `idempotency_key`, so that a load that was interrupted goes on.
    pub fn sample(mut self, history: &'static [u8]) -> Self {
        self.sample = Some(history);
        self
    }

    /// Of which source the program was built, for `--version` and the metric `fleet_build_info`.
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// Checks it.
    ///
    /// # Errors
    /// Topics and read models do not fit together; the message says which, and why.
    pub fn build(self) -> Result<Fleet, Mistake> {
        let catalogue = Catalogue::new(self.topics, self.projections)?;
        Ok(Fleet { catalogue, sample: self.sample, origin: self.origin })
    }

    /// Runs the command that the command line names, to its end: a role, a command against a running fleet, or, without
    /// any, the whole fleet in one process. What goes wrong is said in one line.
    pub fn run(self) -> ExitCode {
        let fleet = match self.build() {
            Ok(fleet) => fleet,
            Err(mistake) => return failed(&anyhow::Error::from(mistake).context("this program's catalogue")),
        };
        fleet.origin.of_this_process();
        let matches =
            fleet.command().try_get_matches().unwrap_or_else(|error| explain(&cli::explained(error, fleet.command())));
        let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| explain(&error));
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => return failed(&anyhow::Error::from(error).context("starting the runtime")),
        };
        let ended = runtime.block_on(cli.run(&fleet.catalogue, fleet.sample));
        // An author's code may never come back, and whoever has been told that all has stopped believes it.
        runtime.shutdown_timeout(LAST);
        match ended {
            Ok(code) => code,
            // Whoever read what is written here has stopped reading, as `head` does.
            Err(error) if error.is::<out::Closed>() => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        }
    }
}

/// What clap has to say instead of a command: what was wrong with it, or its help.
fn explain(error: &clap::Error) -> ! {
    if let Err(unwritten) = error.print()
        && !error.use_stderr()
        && unwritten.kind() != ErrorKind::BrokenPipe
    {
        out::complain(format!("{}: writing the output: {unwritten}", called::program()));
        std::process::exit(Exit::Failure.code().into());
    }
    std::process::exit(error.exit_code())
}

fn failed(error: &anyhow::Error) -> ExitCode {
    out::complain(format!("{}: {error:#}", called::program()));
    Exit::of(error).into()
}
