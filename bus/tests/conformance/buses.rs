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
        self.subscription_with(name, 8)
    }

    /// One that another will take over from. The emulator leases messages to closed streams, so with one closed stream to
    /// eight open ones nearly all arrive at once, and any within a few leases.
    pub fn first_subscription(&self, name: &str) -> Box<dyn Subscription> {
        self.subscription_with(name, 1)
    }

    fn subscription_with(&self, name: &str, streams: usize) -> Box<dyn Subscription> {
        match self {
            Self::Embedded(bus) => Box::new(bus.subscription(name)),
            Self::Google(bus) => Box::new(bus.subscription(name, streams, 1_000)),
        }
    }
}

pub fn unique(kind: &str) -> String {
    format!("{kind}-{:016x}", rand::random::<u64>())
}
