//! What a program is made of: its topics and its read models, checked once, when it starts.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use events::Topic;

use crate::erased::Erased;
use crate::{AnyProjection, Projection};

/// Postgres cuts longer names off, and the schemas of tests have a suffix.
const LONGEST_PROJECTION: usize = 30;

/// What Pub/Sub takes.
const RETENTION_DAYS: RangeInclusive<u32> = 1..=31;

/// Schemas that are not a read model's.
const RESERVED: [&str; 3] = ["public", "information_schema", "fleet_bookkeeping"];

/// Topics and read models: all that the engine knows of its program. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalogue {
    topics: Arc<[&'static Topic]>,
    projections: Arc<[&'static dyn AnyProjection]>,
}

/// Why topics and read models are no catalogue. The message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// There is nothing to listen to.
    #[error("there is no topic: a program has at least one")]
    NoTopic,
    /// There is nothing to keep.
    #[error("there is no read model: a program has at least one")]
    NoProjection,
    /// Pub/Sub would not take such a name.
    #[error(
        "{what} {name:?}: a name in Pub/Sub has 3 to 255 letters, digits and any of -._~+%, begins with a letter and not \
         with goog"
    )]
    BusName {
        /// A topic, or the subscription of one.
        what: &'static str,
        /// As it was given.
        name: String,
    },
    /// The name is a Postgres schema's, and is written without quotes.
    #[error(
        "read model {0:?}: a name is that of a Postgres schema: 1 to {LONGEST_PROJECTION} of a-z, 0-9 and _, not a digit \
         first, and none of Postgres's or the fleet's own"
    )]
    ProjectionName(String),
    /// An aggregate type is 1 to 100 characters in the store.
    #[error("topic {topic}: {aggregate_type:?} is no aggregate type, which has 1 to 100 characters")]
    AggregateType {
        /// The topic that names it.
        topic: &'static str,
        /// As it was given.
        aggregate_type: &'static str,
    },
    /// Nothing could ever travel on it.
    #[error("topic {0} carries no aggregate type")]
    Silent(&'static str),
    /// Two of one name: a process could serve only one of them.
    #[error("there are two {what} called {name}")]
    Twice {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Pub/Sub keeps messages for so long only.
    #[error(
        "topic {topic}: retention_days is {days}; Pub/Sub keeps messages for {} to {} days",
        RETENTION_DAYS.start(),
        RETENTION_DAYS.end()
    )]
    Retention {
        /// The topic.
        topic: &'static str,
        /// As it was given.
        days: u32,
    },
    /// An aggregate's events would be on two topics, and in the order of neither.
    #[error("{aggregate_type} speaks on two topics, {first} and {second}: an aggregate type speaks on one only")]
    SpeaksTwice {
        /// The aggregate type.
        aggregate_type: &'static str,
        /// A topic that carries it.
        first: &'static str,
        /// Another one.
        second: &'static str,
    },
    /// Nobody would deliver to it.
    #[error("read model {projection} listens to topic {topic}, which is not in the catalogue: add it")]
    Undeclared {
        /// The read model.
        projection: &'static str,
        /// What it listens to.
        topic: &'static str,
    },
    /// Nobody would deliver to it.
    #[error("read model {0} listens to no topic")]
    Deaf(&'static str),
    /// The database counts them in a signed number, and from 1.
    #[error("read model {projection}: its VERSION is {version}, and the first is 1")]
    Version {
        /// The read model.
        projection: &'static str,
        /// As it was given.
        version: u32,
    },
    /// There would be nothing to read.
    #[error("read model {0}: its TABLES are empty")]
    NoTables(&'static str),
}

/// A [`Projection`] whose type is forgotten, so that it fits into a list with others.
pub fn erased<P: Projection>() -> &'static dyn AnyProjection {
    &Erased::<P>::NEW
}

impl Catalogue {
    /// # Errors
    /// The first mistake that is found. The engine rests on there being none.
    pub fn new(
        topics: impl IntoIterator<Item = &'static Topic>,
        projections: impl IntoIterator<Item = &'static dyn AnyProjection>,
    ) -> Result<Self, Mistake> {
        let topics: Arc<[_]> = topics.into_iter().collect();
        let projections: Arc<[_]> = projections.into_iter().collect();
        if topics.is_empty() {
            return Err(Mistake::NoTopic);
        }
        if projections.is_empty() {
            return Err(Mistake::NoProjection);
        }
        check_topics(&topics)?;
        let catalogue = Self { topics, projections };
        catalogue.check_projections()?;
        Ok(catalogue)
    }

    /// All topics, in the order in which the program names them.
    pub fn topics(&self) -> &[&'static Topic] {
        &self.topics
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&'static Topic> {
        self.topics.iter().copied().find(|topic| topic.name == name)
    }

    /// The topic on which this aggregate type speaks. `None`: nobody listens to it, its events stay in the store.
    pub fn topic_of(&self, aggregate_type: &str) -> Option<&'static Topic> {
        self.topics.iter().copied().find(|topic| topic.carries(aggregate_type))
    }

    /// All read models, in the order in which the program names them.
    pub fn projections(&self) -> &[&'static dyn AnyProjection] {
        &self.projections
    }

    /// The read model of this name.
    pub fn projection(&self, name: &str) -> Option<&'static dyn AnyProjection> {
        self.projections.iter().copied().find(|projection| projection.name() == name)
    }

    /// The read models that listen to `topic`.
    pub fn listening_to(&self, topic: &Topic) -> Vec<&'static dyn AnyProjection> {
        self.projections.iter().copied().filter(|projection| projection.topics().contains(&topic)).collect()
    }

    /// What the worker of `topic` knows: all topics, and the read models that listen to this one.
    #[must_use]
    pub fn of(&self, topic: &Topic) -> Self {
        Self { topics: self.topics.clone(), projections: self.listening_to(topic).into() }
    }

    fn check_projections(&self) -> Result<(), Mistake> {
        let mut names = BTreeMap::new();
        for projection in self.projections() {
            let name = projection.name();
            if !is_schema(name) {
                return Err(Mistake::ProjectionName(name.to_owned()));
            }
            once(&mut names, "read models", name)?;
            let version = projection.version();
            if !i32::try_from(version).is_ok_and(|version| version > 0) {
                return Err(Mistake::Version { projection: name, version });
            }
            if projection.tables().trim().is_empty() {
                return Err(Mistake::NoTables(name));
            }
            if projection.topics().is_empty() {
                return Err(Mistake::Deaf(name));
            }
            let mut topics = BTreeMap::new();
            for topic in projection.topics() {
                if !self.topics.contains(topic) {
                    return Err(Mistake::Undeclared { projection: name, topic: topic.name });
                }
                once(&mut topics, "topics in one read model", topic.name)?;
            }
        }
        Ok(())
    }
}

fn check_topics(topics: &[&'static Topic]) -> Result<(), Mistake> {
    let (mut names, mut subscriptions) = (BTreeMap::new(), BTreeMap::new());
    let mut speaks_on = BTreeMap::new();
    for topic in topics {
        let dead_letter = topic.dead_letter();
        for (what, name) in [
            ("topic", topic.name),
            ("subscription", topic.subscription),
            ("the dead letters of a subscription", &*dead_letter),
        ] {
            if !is_bus_name(name) {
                return Err(Mistake::BusName { what, name: name.to_owned() });
            }
        }
        // A dead-letter topic has the name of its subscription.
        once(&mut names, "topics", topic.name)?;
        once(&mut subscriptions, "subscriptions", topic.subscription)?;
        once(&mut names, "topics", &dead_letter)?;
        once(&mut subscriptions, "subscriptions", &dead_letter)?;
        if !RETENTION_DAYS.contains(&topic.retention_days) {
            return Err(Mistake::Retention { topic: topic.name, days: topic.retention_days });
        }
        if topic.aggregate_types.is_empty() {
            return Err(Mistake::Silent(topic.name));
        }
        for aggregate_type in topic.aggregate_types {
            if !(1..=100).contains(&aggregate_type.chars().count()) || aggregate_type.contains('\0') {
                return Err(Mistake::AggregateType { topic: topic.name, aggregate_type });
            }
            if let Some(first) = speaks_on.insert(aggregate_type, topic.name) {
                return Err(Mistake::SpeaksTwice { aggregate_type, first, second: topic.name });
            }
        }
    }
    Ok(())
}

fn once(seen: &mut BTreeMap<String, ()>, what: &'static str, name: &str) -> Result<(), Mistake> {
    match seen.insert(name.to_owned(), ()) {
        None => Ok(()),
        Some(()) => Err(Mistake::Twice { what, name: name.to_owned() }),
    }
}

/// Pub/Sub's rule for topics and subscriptions.
fn is_bus_name(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && !name.starts_with("goog")
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._~+%".contains(letter))
}

/// A schema's name that needs no quotes and is nobody else's.
fn is_schema(name: &str) -> bool {
    (1..=LONGEST_PROJECTION).contains(&name.len())
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '_'))
        && !name.starts_with("pg_")
        && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::{Both, Empty, Newborn, ORDERS, Open, PAYMENTS, Totals, Twice};

    const MADE_UP: Topic = Topic {
        name: "made-up",
        aggregate_types: &["MadeUp"],
        subscription: "made-up-projection",
        retention_days: 7,
        adopts_foreign_events: false,
    };

    fn topic(topic: Topic) -> &'static Topic {
        Box::leak(Box::new(topic))
    }

    fn mistake(topics: &[&'static Topic], projections: &[&'static dyn AnyProjection]) -> Mistake {
        Catalogue::new(topics.iter().copied(), projections.iter().copied()).expect_err("a mistake")
    }

    #[test]
    fn a_catalogue_finds_what_the_program_names() {
        let catalogue =
            Catalogue::new([&ORDERS, &PAYMENTS], [erased::<Open>(), erased::<Totals>()]).expect("no mistake");
        assert_eq!(catalogue.topic("order-events"), Some(&ORDERS));
        assert_eq!(catalogue.topic("orders"), None);
        assert_eq!(catalogue.topic_of("Payment"), Some(&PAYMENTS));
        assert_eq!(catalogue.topic_of("Nobody"), None);
        assert_eq!(catalogue.projection("totals").map(AnyProjection::name), Some("totals"));
        let of = |topic| catalogue.listening_to(topic).iter().map(|found| found.name()).collect::<Vec<_>>();
        assert_eq!((of(&ORDERS), of(&PAYMENTS)), (vec!["open_orders"], vec!["totals"]));
        assert_eq!(catalogue.of(&PAYMENTS).projections().len(), 1);
        assert_eq!(catalogue.of(&PAYMENTS).topics().len(), 2);
    }

    #[test]
    fn what_pubsub_would_not_keep_so_long_is_refused_and_one_subscription_of_two_topics_is_called_that() {
        for days in [0, 32, 700] {
            let kept = topic(Topic { retention_days: days, ..MADE_UP });
            let said = mistake(&[&ORDERS, kept], &[erased::<Open>()]).to_string();
            assert_eq!(
                said,
                format!("topic made-up: retention_days is {days}; Pub/Sub keeps messages for 1 to 31 days")
            );
        }
        let other = topic(Topic { name: "made-up-too", aggregate_types: &["Other"], ..MADE_UP });
        let said = mistake(&[&ORDERS, topic(MADE_UP), other], &[erased::<Open>()]).to_string();
        assert_eq!(said, "there are two subscriptions called made-up-projection");
    }

    #[test]
    fn a_read_model_that_nobody_would_deliver_to_is_refused() {
        let undeclared = Mistake::Undeclared { projection: "totals", topic: "payment-events" };
        assert_eq!(mistake(&[&ORDERS], &[erased::<Totals>()]), undeclared);
        assert_eq!(
            undeclared.to_string(),
            "read model totals listens to topic payment-events, which is not in the catalogue: add it"
        );
    }

    #[test]
    fn a_read_model_of_several_topics_is_found_on_each_of_them() {
        let catalogue = Catalogue::new([&ORDERS, &PAYMENTS], [erased::<Both>(), erased::<Open>()]).expect("no mistake");
        let of = |topic| catalogue.listening_to(topic).iter().map(|found| found.name()).collect::<Vec<_>>();
        assert_eq!((of(&ORDERS), of(&PAYMENTS)), (vec!["both", "open_orders"], vec!["both"]));
        let undeclared = Mistake::Undeclared { projection: "both", topic: "payment-events" };
        assert_eq!(mistake(&[&ORDERS], &[erased::<Both>()]), undeclared);
    }

    #[test]
    fn a_read_model_names_a_topic_once() {
        let twice = Mistake::Twice { what: "topics in one read model", name: "order-events".to_owned() };
        assert_eq!(mistake(&[&ORDERS], &[erased::<Twice>()]), twice);
    }

    #[test]
    fn a_read_model_has_tables_and_a_version() {
        assert_eq!(mistake(&[&ORDERS], &[erased::<Empty>()]), Mistake::NoTables("empty"));
        let newborn = Mistake::Version { projection: "newborn", version: 0 };
        assert_eq!(mistake(&[&ORDERS], &[erased::<Newborn>()]), newborn);
    }

    #[test]
    fn two_of_one_name_are_refused() {
        let twice = |what, name: &str| Mistake::Twice { what, name: name.to_owned() };
        let open = [erased::<Open>()];
        assert_eq!(mistake(&[&ORDERS, &ORDERS], &open), twice("topics", "order-events"));
        assert_eq!(mistake(&[&ORDERS], &[open[0], open[0]]), twice("read models", "open_orders"));
        let other = topic(Topic { subscription: ORDERS.subscription, ..MADE_UP });
        assert_eq!(mistake(&[&ORDERS, other], &open), twice("subscriptions", "order-projection"));
        let dead = topic(Topic { name: "order-projection-dead-letter", ..MADE_UP });
        assert_eq!(mistake(&[&ORDERS, dead], &open), twice("topics", "order-projection-dead-letter"));
    }

    #[test]
    fn an_aggregate_type_speaks_on_one_topic_only() {
        let other = topic(Topic { aggregate_types: &["MadeUp", "Order"], ..MADE_UP });
        let speaks_twice = Mistake::SpeaksTwice { aggregate_type: "Order", first: "order-events", second: "made-up" };
        assert_eq!(mistake(&[&ORDERS, other], &[erased::<Open>()]), speaks_twice);
    }

    #[test]
    fn an_empty_catalogue_is_none() {
        assert_eq!(mistake(&[], &[erased::<Open>()]), Mistake::NoTopic);
        assert_eq!(mistake(&[&ORDERS], &[]), Mistake::NoProjection);
        let silent = topic(Topic { aggregate_types: &[], ..MADE_UP });
        assert_eq!(mistake(&[&ORDERS, silent], &[erased::<Open>()]), Mistake::Silent("made-up"));
    }

    #[test]
    fn a_name_that_postgres_or_pubsub_would_refuse_is_refused_here() {
        for name in ["", "ab", "9-events", "goog-events", "order events", "projects/p/topics/t"] {
            let bad = topic(Topic { name, ..MADE_UP });
            assert!(matches!(mistake(&[bad], &[erased::<Open>()]), Mistake::BusName { .. }), "{name}");
        }
        for name in
            ["", "Orders", "order-book", "1st", "public", "pg_orders", "a\"; drop schema public", "fleet_bookkeeping"]
        {
            assert!(!is_schema(name), "{name}");
        }
        assert!(is_schema("open_orders") && is_schema("_1") && !is_schema(&"a".repeat(LONGEST_PROJECTION + 1)));
        let bad = topic(Topic { aggregate_types: &[""], ..MADE_UP });
        assert!(matches!(mistake(&[bad], &[erased::<Open>()]), Mistake::AggregateType { .. }));
    }
}
