//! Spans that have ended and wait to be sent, one behind the other as they are sent. Bounded in number and in bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::Notify;

/// Spans of one request at most, and bytes of them, of which a receiver takes 4 MB.
const AT_A_TIME: usize = 1024;
const BYTES_AT_A_TIME: usize = 2 << 20;

/// Bytes that wait at most.
const MOST_BYTES: usize = 64 << 20;

/// `spans` in `ScopeSpans`.
const SPANS: u32 = 2;

/// Spans that are sent together, each as a field of `ScopeSpans`.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub spans: usize,
    pub bytes: Vec<u8>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.spans >= AT_A_TIME || self.bytes.len() >= BYTES_AT_A_TIME
    }
}

#[derive(Debug)]
pub(super) struct Waiting {
    /// Spans that wait at most.
    most: usize,
    batches: Mutex<Batches>,
    enough: Notify,
}

#[derive(Debug, Default)]
struct Batches {
    full: VecDeque<Batch>,
    /// What comes next goes there.
    last: Batch,
    /// Of all of them.
    spans: usize,
    bytes: usize,
}

impl Waiting {
    pub fn new(most: usize) -> Self {
        Self { most, batches: Mutex::default(), enough: Notify::new() }
    }

    /// If too many wait, it is lost.
    pub fn put(&self, span: &[u8]) {
        let mut batches = self.batches();
        let Batches { full, last, spans, bytes } = &mut *batches;
        if *spans >= self.most || *bytes + span.len() > MOST_BYTES {
            return;
        }
        let before = last.bytes.len();
        encode_key(SPANS, WireType::LengthDelimited, &mut last.bytes);
        encode_varint(span.len() as u64, &mut last.bytes);
        last.bytes.extend_from_slice(span);
        last.spans += 1;
        *spans += 1;
        *bytes += last.bytes.len() - before;
        if last.is_full() {
            let next = Batch { spans: 0, bytes: Vec::with_capacity(last.bytes.len()) };
            full.push_back(std::mem::replace(last, next));
            drop(batches);
            self.enough.notify_one();
        }
    }

    /// Until a request is full.
    pub async fn enough(&self) {
        self.enough.notified().await;
    }

    /// How many requests are full, or there are if what is not full goes as well.
    pub fn requests(&self, all: bool) -> usize {
        let batches = self.batches();
        batches.full.len() + usize::from(all && batches.last.spans > 0)
    }

    /// The oldest of them.
    pub fn take(&self) -> Option<Batch> {
        let mut batches = self.batches();
        let batch = batches.full.pop_front().or_else(|| {
            let last = std::mem::take(&mut batches.last);
            (last.spans > 0).then_some(last)
        })?;
        batches.spans -= batch.spans;
        batches.bytes -= batch.bytes.len();
        Some(batch)
    }

    fn batches(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_goes_out_in_its_order_and_what_is_too_much_is_lost() {
        let waiting = Waiting::new(2500);
        assert!(waiting.requests(true) == 0 && waiting.take().is_none());
        for span in 0..3000_u32 {
            waiting.put(&span.to_le_bytes());
        }
        assert_eq!((waiting.requests(false), waiting.requests(true)), (2, 3));
        let mut seen = Vec::new();
        for spans in [AT_A_TIME, AT_A_TIME, 2500 - 2 * AT_A_TIME] {
            let batch = waiting.take().expect("there is one");
            assert_eq!(batch.spans, spans);
            seen.extend(batch.bytes.chunks(6).map(|span| {
                assert_eq!(span[..2], [SPANS as u8 * 8 + 2, 4]);
                u32::from_le_bytes([span[2], span[3], span[4], span[5]])
            }));
        }
        assert!(seen.into_iter().eq(0..2500) && waiting.take().is_none());
        waiting.put(b"room again");
        assert_eq!(waiting.requests(true), 1);
    }

    #[test]
    fn a_request_and_all_that_wait_are_bounded_in_bytes_too() {
        let waiting = Waiting::new(1 << 20);
        // Something waits throughout, as where spans come faster than they go.
        for span in 0..50_000_u32 {
            waiting.put(&span.to_le_bytes());
            if waiting.requests(false) > 2 {
                waiting.take();
            }
        }
        let long = vec![0; 100_000];
        for _ in 0..1000 {
            waiting.put(&long);
        }
        let mut bytes = 0;
        while let Some(batch) = waiting.take() {
            assert!(batch.bytes.len() < BYTES_AT_A_TIME + 100_010, "{}", batch.bytes.len());
            bytes += batch.bytes.len();
        }
        assert!((MOST_BYTES - 200_000..MOST_BYTES + 10_000).contains(&bytes), "{bytes}");
    }
}
