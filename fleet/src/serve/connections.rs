//! Connections that a server keeps at a time. A new one is always taken: if there are as many as may be, the one goes from which
//! nothing has come for the longest time. So whoever opens thousands closes his own, and has no descriptor left for himself that
//! the database's connections need.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// Of one listener at most, and at least.
const MOST: usize = 2_000;
const LEAST: usize = 64;

/// Descriptors that are kept for the database, the bus and files.
const RESERVED: usize = 256;

/// Those of one listener.
#[derive(Debug)]
pub struct Connections {
    limit: usize,
    began: Instant,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_number: HashMap<u64, Arc<Connection>>,
}

#[derive(Debug)]
struct Connection {
    /// Milliseconds from the beginning to when something came last.
    heard: AtomicU64,
    closed: CancellationToken,
}

impl Connections {
    pub fn new() -> Arc<Self> {
        Self::of(limit(std::fs::read_to_string("/proc/self/limits").ok().as_deref()))
    }

    fn of(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, began: Instant::now(), open: Mutex::default() })
    }

    /// Takes a connection.
    pub fn take(self: &Arc<Self>, stream: TcpStream) -> Taken<TcpStream> {
        // Answers are written at once. A socket that cannot is closed soon anyway.
        let _ = stream.set_nodelay(true);
        self.keep(stream)
    }

    fn keep<S>(self: &Arc<Self>, stream: S) -> Taken<S> {
        let connection =
            Arc::new(Connection { heard: AtomicU64::new(self.elapsed()), closed: CancellationToken::new() });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while open.by_number.len() >= self.limit {
            let quietest = open.by_number.iter().min_by_key(|(_, of)| of.heard.load(Ordering::Relaxed));
            let Some(number) = quietest.map(|(number, _)| *number) else { break };
            if let Some(quietest) = open.by_number.remove(&number) {
                quietest.closed.cancel();
            }
        }
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, connection.clone());
        drop(open);
        let closed = Box::pin(connection.closed.clone().cancelled_owned());
        Taken { stream, number, connection, closed, of: self.clone() }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// How many there may be, by what the system says of this process.
fn limit(limits: Option<&str>) -> usize {
    let line = limits.and_then(|limits| limits.lines().find(|line| line.starts_with("Max open files")));
    let files = line.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok()).unwrap_or(1024);
    // Two listeners share them.
    (files.saturating_sub(RESERVED) / 2).clamp(LEAST, MOST)
}

/// A connection that is kept until it ends or is the quietest of too many.
pub struct Taken<S> {
    stream: S,
    number: u64,
    connection: Arc<Connection>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    of: Arc<Connections>,
}

impl<S> Drop for Taken<S> {
    fn drop(&mut self) {
        let mut open = self.of.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.by_number.remove(&self.number);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.closed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Error::new(ErrorKind::ConnectionAborted, "too many connections")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.connection.heard.store(self.of.elapsed(), Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.closed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Error::new(ErrorKind::ConnectionAborted, "too many connections")));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        if self.closed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Error::new(ErrorKind::ConnectionAborted, "too many connections")));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Connected for Taken<S> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn one_more_than_may_be_takes_the_place_of_the_quietest() {
        let connections = Connections::of(2);
        let (mut ours, one) = duplex(64);
        let mut one = connections.keep(one);
        let (_quiet, two) = duplex(64);
        let mut two = connections.keep(two);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        ours.write_all(b"here").await.expect("written");
        let mut heard = [0; 4];
        one.read_exact(&mut heard).await.expect("read");
        let waiting = tokio::spawn(async move { two.read(&mut [0; 1]).await.map_err(|error| error.kind()) });
        let (_new, three) = duplex(64);
        let three = connections.keep(three);
        assert_eq!(waiting.await.expect("a task"), Err(ErrorKind::ConnectionAborted));
        ours.write_all(b"here").await.expect("written");
        one.read_exact(&mut heard).await.expect("the one that speaks goes on");
        drop((one, three));
        assert_eq!(connections.open.lock().expect("a lock").by_number.len(), 0);
    }

    #[test]
    fn there_are_as_many_as_the_system_has_descriptors_for() {
        let limits =
            |files: &str| format!("Limit  Soft Limit  Hard Limit  Units\nMax open files  {files}  524288  files\n");
        assert_eq!(limit(Some(&limits("1024"))), 384);
        assert_eq!(limit(Some(&limits("300"))), LEAST);
        assert_eq!(limit(Some(&limits("1048576"))), MOST);
        assert_eq!(limit(None), 384);
    }
}
