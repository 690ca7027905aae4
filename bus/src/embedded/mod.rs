//! The bus within this process: for `fleet dev` where no emulator is installed, and for tests that want speed.
//!
//! It promises what Pub/Sub promises: at least once, in no order. A lease lasts as long as the receipt is held, as with
//! Google's client; nothing outlives the process.

mod publisher;
mod queue;
mod subscription;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

pub use publisher::EmbeddedPublisher;
pub use subscription::EmbeddedSubscription;

use crate::{Blame, Error, Spec};
use queue::Queue;

/// Clones are the same bus.
#[derive(Debug, Clone, Default)]
pub struct Embedded(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    topics: HashMap<String, Vec<Arc<Queue>>>,
    subscriptions: HashMap<String, Arc<Queue>>,
}

impl Embedded {
    /// The most messages that a subscription holds, unsettled ones included, before publishers are made to wait. A request
    /// is let in whole, so it may be exceeded by one request.
    pub const BACKLOG: usize = 50_000;

    /// The most bytes of them, likewise.
    pub const BACKLOG_BYTES: usize = 128 << 20;

    pub fn new() -> Self {
        Self::default()
    }

    pub fn ensure_topic(&self, name: &str) {
        self.registry().topics.entry(name.to_owned()).or_default();
    }

    /// A subscription that exists is left as it is, even if it differs from `spec`.
    ///
    /// # Errors
    /// The topic or the dead-letter topic does not exist, or `spec` asks for push, which this bus cannot do.
    pub fn ensure_subscription(&self, spec: Spec) -> Result<(), Error> {
        let doing = format!("creating the embedded subscription {}", spec.name);
        let refused = |reason| Error { doing: doing.clone(), reason, blames: Blame::Bus };
        let mut registry = self.registry();
        if registry.subscriptions.contains_key(&spec.name) {
            return Ok(());
        }
        if spec.push_endpoint.is_some() {
            return Err(refused("the embedded bus cannot push: use Google's emulator".to_owned()));
        }
        for topic in [Some(&spec.topic), spec.dead_letter_topic.as_ref()].into_iter().flatten() {
            if !registry.topics.contains_key(topic) {
                return Err(refused(no_topic(topic)));
            }
        }
        let (name, topic) = (spec.name.clone(), spec.topic.clone());
        let queue = Arc::new(Queue::new(spec, self));
        registry.topics.entry(topic).or_default().push(Arc::clone(&queue));
        registry.subscriptions.insert(name, queue);
        Ok(())
    }

    pub fn publisher(&self, topic: &str) -> EmbeddedPublisher {
        EmbeddedPublisher::new(self.clone(), topic.to_owned())
    }

    pub fn subscription(&self, name: &str) -> EmbeddedSubscription {
        EmbeddedSubscription::new(self.clone(), name.to_owned())
    }

    /// The queues of the subscriptions of `topic`, or why there are none.
    fn queues_of(&self, topic: &str) -> Result<Vec<Arc<Queue>>, String> {
        self.registry().topics.get(topic).cloned().ok_or_else(|| no_topic(topic))
    }

    fn queue(&self, subscription: &str) -> Option<Arc<Queue>> {
        self.registry().subscriptions.get(subscription).cloned()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

fn no_topic(name: &str) -> String {
    format!("the topic {name} does not exist: create it first")
}
