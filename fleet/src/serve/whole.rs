//! Messages of a call come whole, in time, and not too many at once in part.
//!
//! A message is taken apart only when all of it is there, and until then its bytes are kept. Without this, whoever sends all but
//! the last byte of thousands of messages would fill the memory of a store.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

/// How long a message may take from its first byte to its last.
const WHOLE: Duration = Duration::from_secs(20);

/// How long a caller may say nothing between two messages of a call.
const NEXT: Duration = Duration::from_secs(900);

/// Bytes of all messages that have come in part.
const UNFINISHED: usize = 64 << 20;

/// gRPC writes before each message whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Bytes of messages that have come in part. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Unfinished(Arc<AtomicUsize>);

/// The request, whose body keeps to the limits.
pub fn guarded(request: Request, unfinished: &Unfinished) -> Request {
    request.map(|body| Body::new(Whole::new(body, unfinished.clone())))
}

struct Whole {
    body: Body,
    /// Of the prefix that is being read.
    prefix: [u8; PREFIX],
    prefix_read: usize,
    /// Bytes of the message that are still to come; `None` while its prefix is.
    missing: Option<usize>,
    /// Bytes of it that have come.
    held: usize,
    unfinished: Unfinished,
    limit: Pin<Box<Sleep>>,
}

impl Whole {
    fn new(body: Body, unfinished: Unfinished) -> Self {
        let limit = Box::pin(sleep(NEXT));
        Self { body, prefix: [0; PREFIX], prefix_read: 0, missing: None, held: 0, unfinished, limit }
    }

    /// Whether a message has begun and not ended.
    fn is_within(&self) -> bool {
        self.missing.is_some() || self.prefix_read > 0
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        let was_within = self.is_within();
        let mut ended = false;
        while !bytes.is_empty() {
            match self.missing {
                None => {
                    let take = bytes.len().min(PREFIX - self.prefix_read);
                    self.prefix[self.prefix_read..self.prefix_read + take].copy_from_slice(&bytes[..take]);
                    self.prefix_read += take;
                    bytes = &bytes[take..];
                    if self.prefix_read == PREFIX {
                        let [_, length @ ..] = self.prefix;
                        self.prefix_read = 0;
                        self.missing = Some(u32::from_be_bytes(length) as usize);
                    }
                }
                Some(missing) => {
                    let take = bytes.len().min(missing);
                    bytes = &bytes[take..];
                    self.missing = Some(missing - take);
                    self.hold(take);
                }
            }
            if self.missing == Some(0) {
                self.missing = None;
                self.release();
                ended = true;
            }
        }
        if self.is_within() && self.unfinished.0.load(Ordering::Relaxed) > UNFINISHED {
            self.release();
            return Err(Status::resource_exhausted("too much has come in part: send it again"));
        }
        if ended || self.is_within() != was_within {
            let time = if self.is_within() { WHOLE } else { NEXT };
            self.limit.as_mut().reset(Instant::now() + time);
        }
        Ok(())
    }

    fn hold(&mut self, bytes: usize) {
        self.held += bytes;
        self.unfinished.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn release(&mut self) {
        self.unfinished.0.fetch_sub(std::mem::take(&mut self.held), Ordering::Relaxed);
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.release();
    }
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let read = frame.data_ref().map_or(Ok(()), |data| self.read(data));
                Poll::Ready(Some(read.map(|()| frame).map_err(axum::Error::new)))
            }
            Poll::Ready(other) => Poll::Ready(other),
            Poll::Pending if self.limit.as_mut().poll(context).is_ready() => {
                let why = if self.is_within() {
                    Status::deadline_exceeded(format!("a message did not come whole within {} s", WHOLE.as_secs()))
                } else {
                    Status::unavailable(format!("nothing came for {} s: begin the call anew", NEXT.as_secs()))
                };
                self.release();
                Poll::Ready(Some(Err(axum::Error::new(why))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    fn message(bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).expect("a length").to_be_bytes();
        [&[0], &length[..], &vec![7; bytes][..]].concat()
    }

    #[tokio::test]
    async fn what_has_come_in_part_is_counted_until_the_rest_has_come() {
        let unfinished = Unfinished::default();
        let counted = || unfinished.0.load(Ordering::Relaxed);
        let all = [message(10), message(0), message(1000)].concat();
        for cut in 0..all.len() {
            let mut whole = Whole::new(Body::empty(), unfinished.clone());
            whole.read(&all[..cut]).expect("little");
            let (first, second) = (15, 20);
            let held = match cut {
                0..15 => cut.saturating_sub(5),
                15..20 => 0,
                _ => cut.saturating_sub(second + 5),
            };
            assert_eq!((counted(), whole.is_within()), (held, ![0, first, second].contains(&cut)), "{cut}");
            whole.read(&all[cut..]).expect("little");
            assert_eq!((counted(), whole.is_within()), (0, false), "{cut}");
        }
        let mut whole = Whole::new(Body::empty(), unfinished.clone());
        whole.read(&all[..100]).expect("little");
        drop(whole);
        assert_eq!(counted(), 0, "of a call that was given up nothing is kept");
    }

    #[tokio::test]
    async fn more_than_may_be_in_part_is_refused_and_forgotten() {
        let unfinished = Unfinished(Arc::new(AtomicUsize::new(UNFINISHED)));
        let mut whole = Whole::new(Body::empty(), unfinished.clone());
        whole.read(&message(1000)).expect("what is whole is not kept here");
        let refused = whole.read(&message(1000)[..500]).expect_err("in part");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert_eq!(unfinished.0.load(Ordering::Relaxed), UNFINISHED);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_within_a_message_is_cut_off_and_who_says_nothing_later() {
        for (sent, code, seconds) in [
            (message(10)[..7].to_vec(), tonic::Code::DeadlineExceeded, WHOLE),
            (message(10), tonic::Code::Unavailable, NEXT),
        ] {
            let frames = futures::stream::iter([Ok::<_, axum::Error>(Bytes::from(sent))]);
            let body = Body::from_stream(futures::StreamExt::chain(frames, futures::stream::pending()));
            let mut whole = Box::pin(Whole::new(body, Unfinished::default()));
            let began = Instant::now();
            let mut next = async || std::future::poll_fn(|context| whole.as_mut().poll_frame(context)).await;
            next().await.expect("a frame").expect("data");
            let error = next().await.expect("an end").expect_err("cut off");
            assert_eq!(Status::from_error(Box::new(error)).code(), code);
            assert_eq!(began.elapsed().as_secs(), seconds.as_secs());
        }
    }
}
