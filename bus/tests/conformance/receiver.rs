//! A receiver that runs beside the test, and every wait of which is bounded.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use bus::{Delivery, Error, Message, Subscription};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far beyond what anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(180);

pub struct Receiver {
    deliveries: mpsc::Receiver<Delivery>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

impl Receiver {
    pub fn start(subscription: Box<dyn Subscription>) -> Self {
        Self::with_channel(subscription, 100)
    }

    pub fn with_channel(subscription: Box<dyn Subscription>, capacity: usize) -> Self {
        let (sender, deliveries) = mpsc::channel(capacity);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let running = tokio::spawn(async move { subscription.receive(sender, stopped).await });
        Self { deliveries, stop, running }
    }

    pub fn try_next(&mut self) -> Option<Delivery> {
        self.deliveries.try_recv().ok()
    }

    pub async fn next(&mut self) -> Delivery {
        soon("a delivery", self.deliveries.recv()).await.expect("the subscription goes on")
    }

    pub async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            taken.push(self.next().await);
        }
        taken
    }

    /// Acks and returns `count` different messages, whatever comes twice meanwhile.
    pub async fn ack_distinct(&mut self, count: usize) -> Vec<String> {
        let mut seen = BTreeSet::new();
        while seen.len() < count {
            let delivery = self.next().await;
            seen.insert(text(&delivery.message));
            delivery.receipt.ack();
        }
        seen.into_iter().collect()
    }

    /// Asks for the end and leaves the rest to the test.
    pub fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Everything that is still in the channel.
    pub async fn rest(&mut self) -> Vec<Delivery> {
        let mut rest = Vec::new();
        while let Some(delivery) = soon("the end of the channel", self.deliveries.recv()).await {
            rest.push(delivery);
        }
        rest
    }

    /// Stops and gives back what the test has not taken.
    pub async fn stop(self) {
        self.ask_to_stop();
        self.go_away().await;
    }

    /// Drops the receiving end without a word.
    pub async fn go_away(self) {
        drop(self.deliveries);
        soon("the end of receive", self.running).await.expect("no panic").expect("no error");
    }

    pub fn running(&mut self) -> &mut JoinHandle<Result<(), Error>> {
        &mut self.running
    }
}

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("no {what} within {PATIENCE:?}"),
    }
}

pub fn messages(range: std::ops::Range<usize>) -> Vec<Message> {
    range.map(|n| message(&format!("{n:06}"))).collect()
}

pub fn message(text: &str) -> Message {
    Message { data: text.to_owned().into(), ..Message::default() }
}

pub fn text(message: &Message) -> String {
    String::from_utf8(message.data.to_vec()).expect("the tests publish text")
}

pub fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(text).collect()
}
