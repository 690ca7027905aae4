//! Chaos does what it says, the same for the same seed, and the bus stays a bus.

use std::collections::{BTreeMap, BTreeSet};

use bus::{Chaos, Embedded, Publisher, Spec};

use crate::receiver::{Receiver, messages, text, texts};

fn bus() -> Embedded {
    let bus = Embedded::new();
    bus.ensure_topic("topic");
    bus.ensure_subscription(Spec::new("subscription", "topic")).expect("the topic exists");
    bus
}

fn seed() -> u64 {
    let seed = rand::random();
    println!("seed {seed}");
    seed
}

#[tokio::test]
async fn a_chaotic_publisher_repeats_reorders_and_loses() {
    let seed = seed();
    let mut runs = Vec::new();
    for _ in 0..2 {
        let chaos = Chaos { duplicate: 2, shuffle: 20, lose: 0.1, ..Chaos::new(seed) };
        let bus = bus();
        chaos.publisher(bus.publisher("topic")).publish(messages(0..1_000)).await.expect("the topic exists");
        let lost = usize::try_from(chaos.faults.lost()).expect("few");
        assert!(lost > 0 && chaos.faults.shuffled() > 0 && chaos.faults.duplicated() > 0, "{:?}", chaos.faults);

        let mut receiver = Receiver::start(Box::new(bus.subscription("subscription")));
        let mut order = Vec::new();
        for delivery in receiver.take(3 * (1_000 - lost)).await {
            order.push(text(&delivery.message));
            delivery.receipt.ack();
        }
        receiver.stop().await;
        assert!(!order.is_sorted());
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        order.iter().for_each(|message| *times.entry(message).or_default() += 1);
        assert!(times.len() == 1_000 - lost && times.values().all(|&times| times == 3));
        runs.push(order);
    }
    assert_eq!(runs[0], runs[1], "the same seed, another order");
}

#[tokio::test]
async fn a_chaotic_publisher_counts_confirmations_in_the_callers_order() {
    let chaos = Chaos { shuffle: 20, ..Chaos::new(seed()) };
    let publisher = chaos.publisher(Embedded::new().publisher("nobody-made-this"));
    let error = publisher.publish(messages(0..100)).await.expect_err("there is nothing to publish to");
    assert_eq!(error.confirmed, 0);
}

#[tokio::test]
async fn a_chaotic_subscription_repeats_reorders_and_forgets_acks() {
    let chaos = Chaos { duplicate: 1, shuffle: 30, lose_acks: 0.2, ..Chaos::new(seed()) };
    let bus = bus();
    let sent = messages(0..1_000);
    bus.publisher("topic").publish(sent.clone()).await.expect("the topic exists");
    let mut receiver = Receiver::start(Box::new(chaos.subscription(bus.subscription("subscription"))));
    let mut seen = BTreeSet::new();
    let mut deliveries = 0;
    // Lost acks bring messages again, so the end is when each message has come and no ack was lost since.
    while seen.len() < 1_000 || chaos.faults.acks_lost() == 0 {
        let delivery = receiver.next().await;
        seen.insert(text(&delivery.message));
        deliveries += 1;
        delivery.receipt.ack();
    }
    assert!(deliveries > 1_000);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), texts(&sent));
    assert!(chaos.faults.duplicated() > 0 && chaos.faults.shuffled() > 0, "{:?}", chaos.faults);
    receiver.stop().await;
}
