//! How many bytes of messages a receiver may have in hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Room for messages, shared by all that fill it: every pull of a worker, and every push to it. Clones are the same room.
///
/// The rule is Pub/Sub's own: while there is any room, a message may come, whatever its size; so each of those who fill it
/// exceeds it by one message at most, and no message is too large to come at all.
#[derive(Debug, Clone)]
pub struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: usize,
    taken: AtomicUsize,
    freed: Notify,
}

impl Room {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Inner { bytes, taken: AtomicUsize::new(0), freed: Notify::new() }))
    }

    /// How many bytes it has, taken ones included.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    pub fn is_open(&self) -> bool {
        self.0.taken.load(Ordering::Acquire) < self.0.bytes
    }

    /// Waits until a message may come.
    pub async fn opened(&self) {
        loop {
            // Made before the look, so that no wake-up falls in between.
            let freed = self.0.freed.notified();
            if self.is_open() {
                return;
            }
            freed.await;
        }
    }

    /// Takes room until what it returns is dropped. Never waits: ask [`Self::opened`] first.
    pub fn take(&self, bytes: usize) -> Taken {
        self.0.taken.fetch_add(bytes, Ordering::AcqRel);
        Taken { room: self.clone(), bytes }
    }
}

/// Room that a message takes.
#[derive(Debug)]
pub struct Taken {
    room: Room,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.0.taken.fetch_sub(self.bytes, Ordering::AcqRel);
        self.room.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_message_of_any_size_may_come_while_there_is_room_and_none_when_there_is_not() {
        let room = Room::new(10);
        let small = room.take(9);
        room.opened().await;
        let large = room.take(1000);
        assert!(!room.is_open());
        let mut waiting = std::pin::pin!(room.opened());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(small);
        assert_eq!(waiting.as_mut().now_or_never(), None, "the large one is still there");
        drop(large);
        waiting.await;
    }
}
