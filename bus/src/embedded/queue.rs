//! What one subscription still has to deliver.
//!
//! It knows nothing of receivers: a message is either here or in the hands of whoever popped it, who owes [`Queue::settle`]
//! or [`Queue::give_back`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Embedded, Registry};
use crate::{Message, Spec};

/// The least backoff: a consumer that gives everything back must not spin.
const SOON: Duration = Duration::from_millis(10);

/// A message that a topic has taken, shared by the queues of its subscriptions.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) id: u64,
    pub(super) at: DateTime<Utc>,
    pub(super) message: Message,
}

impl Published {
    pub(super) fn page(messages: Vec<Message>, at: DateTime<Utc>) -> Vec<Arc<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let count = u64::try_from(messages.len()).expect("a page has fewer than 2^64 messages");
        let first = NEXT.fetch_add(count, Ordering::Relaxed);
        (first..).zip(messages).map(|(id, message)| Arc::new(Self { id, at, message })).collect()
    }
}

/// A message in one subscription, with the deliveries it has had.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) published: Arc<Published>,
    pub(super) attempts: u32,
}

pub(super) struct Queue {
    spec: Spec,
    bus: Weak<Mutex<Registry>>,
    state: Mutex<State>,
    /// Wakes receivers: there is something to pop, or an earlier time to look again.
    changed: Notify,
    /// Wakes publishers: the backlog is below its bound again.
    emptied: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Queued>,
    /// Messages that wait out their backoff. The number, the message's own, tells apart those of the same instant.
    later: BTreeMap<(Instant, u64), Queued>,
    /// Everything unsettled, popped messages included.
    backlog: usize,
    backlog_bytes: usize,
}

impl Queue {
    pub(super) fn new(spec: Spec, bus: &Embedded) -> Self {
        let bus = Arc::downgrade(&bus.0);
        Self { spec, bus, state: Mutex::default(), changed: Notify::new(), emptied: Notify::new() }
    }

    /// Waits until a request may be pushed.
    pub(super) async fn room(&self) {
        loop {
            // Made before the look, so that no wake-up falls in between.
            let emptied = self.emptied.notified();
            if self.state().has_room() {
                return;
            }
            emptied.await;
        }
    }

    pub(super) fn push(&self, page: impl ExactSizeIterator<Item = Arc<Published>>) {
        let mut state = self.state();
        state.backlog += page.len();
        for published in page {
            state.backlog_bytes += published.message.bytes();
            state.ready.push_back(Queued { published, attempts: 0 });
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until [`Self::pop`] has something, at least for one of those who ask.
    pub(super) async fn filled(&self) {
        loop {
            let changed = self.changed.notified();
            let due = match self.state().next_due() {
                Due::Now => return,
                Due::At(due) => Some(due),
                Due::Never => None,
            };
            match due {
                None => changed.await,
                Some(due) => {
                    // Either way it is time to look again.
                    let _ = tokio::time::timeout_at(due, changed).await;
                }
            }
        }
    }

    /// Takes a message and counts a delivery of it.
    pub(super) fn pop(&self) -> Option<Queued> {
        let mut state = self.state();
        let mut queued = match state.later.first_entry() {
            Some(entry) if entry.key().0 <= Instant::now() => entry.remove(),
            _ => state.ready.pop_front()?,
        };
        queued.attempts += 1;
        Some(queued)
    }

    /// A popped message need not come again.
    pub(super) fn settle(&self, queued: &Queued) {
        let mut state = self.state();
        let was_full = !state.has_room();
        state.backlog -= 1;
        state.backlog_bytes -= queued.published.message.bytes();
        let has_room = state.has_room();
        drop(state);
        if was_full && has_room {
            self.emptied.notify_waiters();
        }
    }

    /// A popped message is delivered again, or goes to the dead letters if this was its last attempt.
    pub(super) fn give_back(&self, queued: Queued) {
        if let Some(topic) = &self.spec.dead_letter_topic
            && queued.attempts >= self.spec.max_delivery_attempts
        {
            self.bury(topic, &queued);
            return self.settle(&queued);
        }
        let due = Instant::now() + self.backoff(queued.attempts);
        self.state().later.insert((due, queued.published.id), queued);
        self.changed.notify_waiters();
    }

    /// Publishes to the dead-letter topic, as Pub/Sub does: a new message, with the same four attributes. It does not wait
    /// for room, since it may be called from a destructor; the bound of this queue bounds it too.
    fn bury(&self, topic: &str, queued: &Queued) {
        let Some(bus) = self.bus.upgrade().map(Embedded) else {
            return;
        };
        let Published { at, message, .. } = &*queued.published;
        let mut message = message.clone();
        message.attributes.extend(
            [
                (Message::DEAD_LETTER_SOURCE, self.spec.name.clone()),
                ("CloudPubSubDeadLetterSourceSubscriptionProject", "embedded".to_owned()),
                ("CloudPubSubDeadLetterSourceTopicPublishTime", at.to_rfc3339_opts(SecondsFormat::Millis, true)),
                ("CloudPubSubDeadLetterSourceDeliveryCount", queued.attempts.to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let page = Published::page(vec![message], Utc::now());
        for queue in bus.queues_of(topic).unwrap_or_default() {
            queue.push(page.iter().map(Arc::clone));
        }
    }

    fn backoff(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(16);
        self.spec.min_backoff.saturating_mul(1 << doublings).min(self.spec.max_backoff).max(SOON)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}

enum Due {
    Now,
    At(Instant),
    Never,
}

impl State {
    fn has_room(&self) -> bool {
        self.backlog < Embedded::BACKLOG && self.backlog_bytes < Embedded::BACKLOG_BYTES
    }

    fn next_due(&self) -> Due {
        match self.later.first_key_value() {
            _ if !self.ready.is_empty() => Due::Now,
            Some(((due, _), _)) if *due <= Instant::now() => Due::Now,
            Some(((due, _), _)) => Due::At(*due),
            None => Due::Never,
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("spec", &self.spec).finish_non_exhaustive()
    }
}
