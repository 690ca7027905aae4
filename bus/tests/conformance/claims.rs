//! The claims. None sleeps: what must come is waited for, and what must not come is shown by a marker that comes instead.

use std::collections::BTreeSet;
use std::time::Duration;

use bus::{Blame, Message, Spec, limits};
use tokio::time::timeout;

use crate::buses::{Buses, unique};
use crate::receiver::{Receiver, message, messages, soon, text, texts};

/// After so long without a message the emulator is asked again, over new streams.
const STUCK: Duration = Duration::from_secs(30);

/// Publishes `count` messages to a fresh topic that has one subscription.
async fn published(buses: &Buses, count: usize) -> (String, String, Vec<String>) {
    let topic = buses.topic().await;
    let subscription = buses.subscribe(&topic).await;
    let all = messages(0..count);
    let expected = texts(&all);
    for page in all.chunks(1_000) {
        buses.publisher(&topic).publish(page.to_vec()).await.expect("the topic exists");
    }
    (topic, subscription, expected)
}

pub async fn what_is_published_is_received(buses: Buses) {
    let (_, subscription, expected) = published(&buses, 10_000).await;
    let mut receiver = Receiver::start(buses.subscription(&subscription));
    assert_eq!(receiver.ack_distinct(expected.len()).await, expected);
    receiver.stop().await;
}

pub async fn attributes_and_binary_data_survive(buses: Buses) {
    let topic = buses.topic().await;
    let subscription = buses.subscribe(&topic).await;
    let attributes = [("event_type", "OrderPlaced"), ("größe", "日本 \n\t=")];
    let sent = Message {
        data: (0..=255).collect::<Vec<u8>>().into(),
        attributes: attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    };
    buses.publisher(&topic).publish(vec![sent.clone()]).await.expect("the topic exists");

    let mut receiver = Receiver::start(buses.subscription(&subscription));
    let delivery = receiver.next().await;
    assert_eq!(delivery.message, sent);
    assert!(delivery.published_at.is_some());
    delivery.receipt.ack();
    receiver.stop().await;
}

pub async fn an_acked_message_does_not_come_again(buses: Buses) {
    unless_silent(async || {
        let (topic, subscription, expected) = published(&buses, 100).await;
        let mut receiver = Receiver::start(buses.first_subscription(&subscription));
        assert_eq!(receiver.ack_distinct(100).await, expected);
        receiver.stop().await;
        only_the_marker_is_left(&buses, &topic, &subscription).await
    })
    .await;
}

pub async fn a_nacked_message_comes_again_under_its_id(buses: Buses) {
    let (_, subscription, _) = published(&buses, 1).await;
    let mut receiver = Receiver::start(buses.subscription(&subscription));
    let first = receiver.next().await;
    let (id, attempt) = (first.message_id.clone(), first.attempt);
    first.receipt.nack();
    let second = receiver.next().await;
    assert_eq!(second.message_id, id);
    assert_eq!(second.attempt, attempt.map(|attempt| attempt + 1));
    second.receipt.ack();
    receiver.stop().await;
}

pub async fn a_dropped_receipt_comes_again(buses: Buses) {
    let (_, subscription, _) = published(&buses, 1).await;
    let mut receiver = Receiver::start(buses.subscription(&subscription));
    let id = receiver.next().await.message_id;
    let again = receiver.next().await;
    assert_eq!(again.message_id, id);
    again.receipt.ack();
    receiver.stop().await;
}

pub async fn two_receivers_share_a_subscription(buses: Buses) {
    let (topic, subscription, _) = published(&buses, 0).await;
    let mut receivers = [(); 2].map(|()| Receiver::start(buses.first_subscription(&subscription)));
    let publisher = buses.publisher(&topic);
    let mut shares = [BTreeSet::new(), BTreeSet::new()];
    let mut sent = 0;
    // The second may still be connecting while the first takes everything, so there is always more.
    let each_has_some = async {
        while shares.iter().any(BTreeSet::is_empty) {
            publisher.publish(messages(sent..sent + 10)).await.expect("the topic exists");
            sent += 10;
            for (receiver, share) in receivers.iter_mut().zip(&mut shares) {
                while let Some(delivery) = receiver.try_next() {
                    share.insert(text(&delivery.message));
                    delivery.receipt.ack();
                }
            }
        }
    };
    soon("share for each", each_has_some).await;
    assert!(shares[0].is_disjoint(&shares[1]), "{shares:?}");
    for receiver in receivers {
        receiver.stop().await;
    }
}

pub async fn every_subscription_gets_every_message(buses: Buses) {
    let topic = buses.topic().await;
    let subscriptions = [buses.subscribe(&topic).await, buses.subscribe(&topic).await];
    let sent = messages(0..500);
    buses.publisher(&topic).publish(sent.clone()).await.expect("the topic exists");
    for subscription in subscriptions {
        let mut receiver = Receiver::start(buses.subscription(&subscription));
        assert_eq!(receiver.ack_distinct(500).await, texts(&sent));
        receiver.stop().await;
    }
}

pub async fn a_full_channel_stops_nothing_but_itself(buses: Buses) {
    let (_, subscription, expected) = published(&buses, 300).await;
    let mut full = Receiver::with_channel(buses.first_subscription(&subscription), 1);
    // One in the channel, the next one in hand: a reader waits for room in the channel when it is stopped.
    let held = full.next().await;
    full.ask_to_stop();
    held.receipt.ack();
    full.stop().await;

    let mut next = Receiver::start(buses.subscription(&subscription));
    let rest = next.ack_distinct(299).await;
    assert!(rest.iter().all(|message| expected.contains(message) && *message != text(&held.message)));
    next.stop().await;
}

pub async fn stop_gives_back_what_was_not_settled(buses: Buses) {
    unless_silent(async || {
        let (topic, subscription, expected) = published(&buses, 100).await;
        let mut first = Receiver::start(buses.first_subscription(&subscription));
        let mut acked = Vec::new();
        for (n, delivery) in first.take(40).await.into_iter().enumerate() {
            // The others are dropped.
            if n % 2 == 0 {
                acked.push(text(&delivery.message));
                delivery.receipt.ack();
            }
        }
        first.stop().await;

        let mut second = Receiver::start(buses.subscription(&subscription));
        let rest = second.ack_distinct(expected.len() - acked.len()).await;
        second.stop().await;
        let unacked: Vec<_> = expected.into_iter().filter(|message| !acked.contains(message)).collect();
        assert_eq!(rest, unacked);
        only_the_marker_is_left(&buses, &topic, &subscription).await
    })
    .await;
}

pub async fn stop_waits_for_what_was_handed_over(buses: Buses) {
    unless_silent(async || {
        let (topic, subscription, _) = published(&buses, 10).await;
        let mut receiver = Receiver::start(buses.first_subscription(&subscription));
        let held = receiver.take(10).await;
        receiver.ask_to_stop();
        assert!(receiver.rest().await.is_empty(), "the channel ends although deliveries are unsettled");
        let early = timeout(Duration::from_millis(300), receiver.running()).await;
        assert!(early.is_err(), "receive returned before its deliveries were settled: {early:?}");
        held.into_iter().for_each(|delivery| delivery.receipt.ack());
        receiver.stop().await;
        only_the_marker_is_left(&buses, &topic, &subscription).await
    })
    .await;
}

pub async fn stop_on_an_idle_subscription_returns(buses: Buses) {
    unless_silent(async || {
        let (topic, subscription, _) = published(&buses, 0).await;
        let idle = Receiver::start(buses.first_subscription(&subscription));
        timeout(Duration::from_secs(5), idle.stop()).await.expect("nothing is left to wait for");
        only_the_marker_is_left(&buses, &topic, &subscription).await
    })
    .await;
}

pub async fn a_receiver_that_goes_away_stops_the_subscription(buses: Buses) {
    let (_, subscription, expected) = published(&buses, 50).await;
    let mut gone = Receiver::with_channel(buses.first_subscription(&subscription), 5);
    drop(gone.next().await);
    gone.go_away().await;

    let mut next = Receiver::start(buses.subscription(&subscription));
    assert_eq!(next.ack_distinct(50).await, expected);
    next.stop().await;
}

pub async fn a_missing_subscription_is_an_error(buses: Buses) {
    let mut receiver = Receiver::start(buses.subscription("nobody-made-this"));
    let ended = soon("end of receive", receiver.running()).await.expect("no panic");
    let error = ended.expect_err("there is nothing to receive from").to_string();
    assert!(error.contains("nobody-made-this") && error.contains("create it"), "{error}");
}

pub async fn a_missing_topic_confirms_nothing(buses: Buses) {
    let publisher = buses.publisher("nobody-made-this");
    let error = publisher.publish(messages(0..3)).await.expect_err("there is nothing to publish to");
    assert_eq!((error.confirmed, error.source.blames), (0, Blame::Bus));
    assert!(error.to_string().contains("nobody-made-this"), "{error}");
}

fn sized(data: usize, attributes: &[(&str, usize)]) -> Message {
    let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), "v".repeat(*value)));
    Message { data: "d".repeat(data).into(), attributes: attributes.collect() }
}

pub async fn what_is_within_every_limit_is_carried(buses: Buses) {
    let topic = buses.topic().await;
    let subscription = buses.subscribe(&topic).await;
    let names: Vec<_> = (0..limits::ATTRIBUTES).map(|n| format!("{n:0>256}")).collect();
    let attributes: Vec<_> = names.iter().map(|name| (name.as_str(), limits::VALUE_BYTES)).collect();
    for sent in [sized(0, &attributes), sized(limits::MESSAGE_BYTES - 1_000, &[])] {
        assert_eq!(limits::message(&sent), Ok(()));
        buses.publisher(&topic).publish(vec![sent.clone()]).await.expect("it is within the limits");
        let mut receiver = Receiver::start(buses.first_subscription(&subscription));
        let delivery = receiver.next().await;
        assert!(delivery.message == sent, "it came as another");
        delivery.receipt.ack();
        receiver.stop().await;
    }
}

pub async fn a_message_beyond_a_limit_is_refused_for_good_with_its_request(buses: Buses) {
    let topic = buses.topic().await;
    let subscription = buses.subscribe(&topic).await;
    let publisher = buses.publisher(&topic);
    let many: Vec<_> = (0..=limits::ATTRIBUTES).map(|n| n.to_string()).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), 1)).collect();
    for beyond in [
        sized(0, &[]),
        sized(limits::MESSAGE_BYTES, &[]),
        sized(6_000_000, &[("k", 6_000_000)]),
        sized(1, &[("k", limits::VALUE_BYTES + 1)]),
        sized(1, &[(&"k".repeat(limits::KEY_BYTES + 1), 1)]),
        sized(1, &[("", 1)]),
        sized(1, &[("google", 1)]),
        sized(1, &many),
    ] {
        let why = limits::message(&beyond).expect_err("it is beyond a limit").to_string();
        let request = vec![message("before"), beyond.clone(), message("after")];
        let error = publisher.publish(request).await.expect_err("one of them is refused");
        assert_eq!(error.source.blames, Blame::Messages, "{error}");
        // A large one is a request of its own; the others are refused with their neighbours.
        assert_eq!(error.confirmed, usize::from(beyond.bytes() > 6_000_000), "{error}");
        let error = publisher.publish(vec![beyond]).await.expect_err("it is refused");
        assert!(error.to_string().contains(&why) && error.source.blames == Blame::Messages, "{error}");
    }
    publisher.publish(vec![message("marker")]).await.expect("the publisher goes on");
    let mut receiver = Receiver::start(buses.subscription(&subscription));
    assert_eq!(receiver.ack_distinct(2).await, ["before", "marker"]);
    receiver.stop().await;
}

pub async fn a_page_of_any_size_is_sent_in_requests_within_the_limits(buses: Buses) {
    let topic = buses.topic().await;
    let subscription = buses.subscribe(&topic).await;
    let small = messages(0..2_500);
    let large = (0..7).map(|n| Message { data: format!("{n}{}", "x".repeat(4_000_000)).into(), ..Message::default() });
    let page: Vec<_> = small.iter().cloned().chain(large).collect();
    let all = page.len();
    buses.publisher(&topic).publish(page).await.expect("each of them is within the limits");
    let mut receiver = Receiver::start(buses.subscription(&subscription));
    assert_eq!(receiver.ack_distinct(all).await.len(), all);
    receiver.stop().await;
}

pub async fn the_fifth_failure_goes_to_the_dead_letters(buses: Buses) {
    unless_silent(async || fails_five_times(&buses).await).await;
}

async fn fails_five_times(buses: &Buses) -> Result<(), Silent> {
    let (topic, dead_letters) = (buses.topic().await, buses.topic().await);
    let dead = buses.subscribe(&dead_letters).await;
    let name = unique("subscription");
    let spec = Spec { dead_letter_topic: Some(dead_letters), ..Spec::new(&name, &topic) };
    buses.ensure_subscription(spec).await.expect("both topics exist");
    let sent = Message { attributes: [("kept".to_owned(), "yes".to_owned())].into(), ..message("poison") };
    buses.publisher(&topic).publish(vec![sent]).await.expect("the topic exists");

    let mut receiver = Receiver::start(buses.first_subscription(&name));
    for attempt in 1..=5 {
        let delivery = receiver.next().await;
        assert_eq!(delivery.attempt, Some(attempt));
        delivery.receipt.nack();
    }
    let mut undertaker = Receiver::start(buses.subscription(&dead));
    let buried = undertaker.next().await;
    assert_eq!(text(&buried.message), "poison");
    let attribute = |name: &str| buried.message.attributes.get(name).map(String::as_str);
    assert_eq!(attribute("kept"), Some("yes"));
    assert_eq!(attribute("CloudPubSubDeadLetterSourceDeliveryCount"), Some("5"));
    assert_eq!(attribute("CloudPubSubDeadLetterSourceSubscription"), Some(name.as_str()));
    buried.receipt.ack();
    receiver.stop().await;
    undertaker.stop().await;
    only_the_marker_is_left(buses, &topic, &name).await
}

pub async fn setting_up_twice_changes_nothing(buses: Buses) {
    let (topic, subscription, expected) = published(&buses, 3).await;
    buses.ensure_topic(&topic).await;
    buses.ensure_subscription(Spec::new(&subscription, &topic)).await.expect("it exists, which is no error");
    let mut receiver = Receiver::start(buses.subscription(&subscription));
    assert_eq!(receiver.ack_distinct(3).await, expected);
    receiver.stop().await;

    let orphan = Spec::new(unique("subscription"), "nobody-made-this");
    buses.ensure_subscription(orphan).await.expect_err("its topic does not exist");
}

/// No message came from a subscription that has one.
#[derive(Debug)]
struct Silent;

/// Now and then the emulator gives nothing more to anybody on a subscription, most often on one from which it moved a message.
/// Silence shows nothing: the claim is tried on another subscription then. Whatever does come is judged at once.
async fn unless_silent(claim: impl AsyncFn() -> Result<(), Silent>) {
    for _ in 0..4 {
        if claim().await.is_ok() {
            return;
        }
    }
    panic!("four subscriptions fell silent");
}

/// Neither bus promises an order, but whatever was given back before the marker is due before the marker is due again.
async fn only_the_marker_is_left(buses: &Buses, topic: &str, subscription: &str) -> Result<(), Silent> {
    for _ in 0..2 {
        buses.publisher(topic).publish(vec![message("marker")]).await.expect("the topic exists");
        let mut receiver = Receiver::start(buses.subscription(subscription));
        if let Ok(first) = timeout(STUCK, receiver.next()).await {
            assert_eq!(text(&first.message), "marker");
            drop(first);
            let again = receiver.next().await;
            assert_eq!(text(&again.message), "marker");
            again.receipt.ack();
            receiver.stop().await;
            return Ok(());
        }
        println!("{subscription}: nothing within {STUCK:?}; another marker, over new streams");
        receiver.stop().await;
    }
    Err(Silent)
}
