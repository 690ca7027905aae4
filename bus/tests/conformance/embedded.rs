//! What only the embedded bus promises.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bus::{Blame, Embedded, Message, Publisher, Spec};
use tokio::time::timeout;

use crate::receiver::{Receiver, messages, soon, text, texts};

fn bus_with(spec: Spec) -> Embedded {
    let bus = Embedded::new();
    bus.ensure_topic(&spec.topic);
    bus.ensure_subscription(spec).expect("the topic exists");
    bus
}

#[tokio::test]
async fn what_nobody_subscribes_to_is_dropped() {
    let bus = Embedded::new();
    bus.ensure_topic("topic");
    bus.publisher("topic").publish(messages(0..10)).await.expect("the topic exists");
    bus.ensure_subscription(Spec::new("late", "topic")).expect("the topic exists");
    bus.publisher("topic").publish(messages(10..20)).await.expect("the topic exists");
    let mut receiver = Receiver::start(Box::new(bus.subscription("late")));
    assert_eq!(receiver.ack_distinct(10).await, texts(&messages(10..20)));
    receiver.stop().await;
}

#[tokio::test]
async fn a_full_subscription_holds_publishers_back_until_it_is_read() {
    let bus = bus_with(Spec::new("slow", "topic"));
    let publisher = bus.publisher("topic");
    publisher.publish(messages(0..Embedded::BACKLOG)).await.expect("the topic exists");
    let mut held_back = publisher.publish(messages(0..1));
    timeout(Duration::from_millis(50), &mut held_back).await.expect_err("the backlog is full");

    let mut receiver = Receiver::start(Box::new(bus.subscription("slow")));
    receiver.next().await.receipt.ack();
    soon("room", held_back).await.expect("the topic exists");
    receiver.stop().await;
}

#[tokio::test]
async fn a_subscription_is_full_of_few_large_messages_too() {
    let bus = bus_with(Spec::new("slow", "topic"));
    let publisher = bus.publisher("topic");
    let large = || Message { data: vec![b'x'; 9_000_000].into(), ..Message::default() };
    for _ in 0..Embedded::BACKLOG_BYTES.div_ceil(9_000_000) {
        publisher.publish(vec![large()]).await.expect("the topic exists");
    }
    let mut held_back = publisher.publish(vec![large()]);
    timeout(Duration::from_millis(50), &mut held_back).await.expect_err("the backlog is full");
    let mut receiver = Receiver::start(Box::new(bus.subscription("slow")));
    receiver.next().await.receipt.ack();
    soon("room", held_back).await.expect("the topic exists");
    receiver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_is_held_back_for_long_says_so() {
    let bus = bus_with(Spec::new("abandoned", "topic"));
    let publisher = bus.publisher("topic");
    publisher.publish(messages(0..Embedded::BACKLOG)).await.expect("the topic exists");
    let error = publisher.publish(messages(0..1)).await.expect_err("nobody reads");
    assert_eq!((error.confirmed, error.source.blames), (0, Blame::Bus), "{error}");
}

#[tokio::test]
async fn a_receiver_holds_no_more_than_it_may() {
    let bus = bus_with(Spec::new("shared", "topic"));
    bus.publisher("topic").publish(messages(0..20)).await.expect("the topic exists");
    // Neither may hold all of them, so each gets its half.
    let narrow = || Box::new(bus.subscription("shared").with_max_outstanding(10));
    let (mut one, mut other) = (Receiver::start(narrow()), Receiver::start(narrow()));
    let halves = [one.take(10).await, other.take(10).await];
    let seen: BTreeSet<_> = halves.iter().flatten().map(|delivery| text(&delivery.message)).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), texts(&messages(0..20)));
    halves.into_iter().flatten().for_each(|delivery| delivery.receipt.ack());
    one.stop().await;
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_nack_waits_twice_as_long_each_time() {
    let backoff = |spec| Spec { min_backoff: Duration::from_secs(10), max_backoff: Duration::from_secs(30), ..spec };
    let bus = bus_with(backoff(Spec::new("patient", "topic")));
    bus.publisher("topic").publish(messages(0..1)).await.expect("the topic exists");
    let mut receiver = Receiver::start(Box::new(bus.subscription("patient")));
    let mut waits = Vec::new();
    for _ in 0..4 {
        let before = tokio::time::Instant::now();
        receiver.next().await.receipt.nack();
        waits.push(before.elapsed().as_secs());
    }
    assert_eq!(waits, [0, 10, 20, 30]);
    receiver.stop().await;
}

/// Not a benchmark, but a bound that a mistake in the locking would break by far.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_carries_a_hundred_thousand_messages_in_seconds() {
    let bus = bus_with(Spec::new("fast", "topic"));
    let started = Instant::now();
    let publisher = bus.publisher("topic");
    let publishing = tokio::spawn(async move {
        for page in messages(0..100_000).chunks(1_000) {
            publisher.publish(page.to_vec()).await.expect("the topic exists");
        }
    });
    let mut receiver = Receiver::with_channel(Box::new(bus.subscription("fast")), 1_000);
    for _ in 0..100_000 {
        receiver.next().await.receipt.ack();
    }
    let took = started.elapsed();
    println!("100,000 messages in {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    publishing.await.expect("no panic");
    receiver.stop().await;
}
