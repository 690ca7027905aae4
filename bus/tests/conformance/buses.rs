//! Either bus behind the same few calls, with names that no other test uses.

use bus::{Embedded, Error, Google, Publisher, Spec, Subscription};

use crate::emulator;

pub enum Buses {
    Embedded(Embedded),
    Google(Google),
}

impl Buses {
    pub fn embedded() -> Self {
        Self::Embedded(Embedded::new())
    }

    /// `None` where there is no emulator.
    pub fn google() -> Option<Self> {
        emulator::host().map(|host| Self::Google(Google::new("conformance", Some(host.to_owned()))))
    }

    pub async fn topic(&self) -> String {
        let name = unique("topic");
        self.ensure_topic(&name).await;
        name
    }

    pub async fn ensure_topic(&self, name: &str) {
        match self {
            Self::Embedded(bus) => bus.ensure_topic(name),
            Self::Google(bus) => bus.ensure_topic(name).await.expect("the emulator creates topics"),
        }
    }

    pub async fn ensure_subscription(&self, spec: Spec) -> Result<(), Error> {
        match self {
            Self::Embedded(bus) => bus.ensure_subscription(spec),
            Self::Google(bus) => bus.ensure_subscription(spec).await,
        }
    }

    pub async fn subscribe(&self, topic: &str) -> String {
        let spec = Spec::new(unique("subscription"), topic);
        let name = spec.name.clone();
        self.ensure_subscription(spec).await.expect("the topic exists");
        name
    }

    pub fn publisher(&self, topic: &str) -> Box<dyn Publisher> {
        match self {
            Self::Embedded(bus) => Box::new(bus.publisher(topic)),
            Self::Google(bus) => Box::new(bus.publisher(topic)),
        }
    }

    pub fn subscription(&self, name: &str) -> Box<dyn Subscription> {
        match self {
            Self::Embedded(bus) => Box::new(bus.subscription(name)),
            Self::Google(bus) => Box::new(bus.subscription(name, 8, 1_000)),
        }
    }

    /// One that may hold no more than `max_outstanding` messages.
    pub fn narrow_subscription(&self, name: &str, max_outstanding: u32) -> Box<dyn Subscription> {
        match self {
            Self::Embedded(bus) => Box::new(bus.subscription(name).with_max_outstanding(max_outstanding)),
            Self::Google(bus) => Box::new(bus.subscription(name, 1, max_outstanding.into())),
        }
    }
}

pub fn unique(kind: &str) -> String {
    format!("{kind}-{:016x}", rand::random::<u64>())
}
