//! Nobody answers: the relay must hear of it long before the client gives up, and a worker must be able to leave.

use std::net::TcpListener;
use std::time::Duration;

use bus::{Google, Publisher};
use tokio::time::timeout;

use crate::receiver::{Receiver, messages};

/// Accepts connections and never says a word, like a network that swallows everything.
fn mute() -> (TcpListener, Google) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let host = listener.local_addr().expect("it is bound").to_string();
    (listener, Google::new("conformance", Some(host)))
}

#[tokio::test]
async fn an_unreachable_service_is_an_error_within_twenty_seconds() {
    let (_listener, google) = mute();
    let publisher = google.publisher("topic");
    let answer = timeout(Duration::from_secs(20), publisher.publish(messages(0..10))).await;
    let error = answer.expect("it gives up by itself").expect_err("nobody answered");
    assert_eq!(error.confirmed, 0);
}

#[tokio::test]
async fn a_receiver_waits_an_outage_out_and_stops_in_the_middle_of_it() {
    let (listener, google) = mute();
    // And then not even that.
    drop(listener);
    let mut receiver = Receiver::start(Box::new(google.subscription("subscription", 2, 10)));
    let early = timeout(Duration::from_millis(500), receiver.running()).await;
    assert!(early.is_err(), "receive gave up: {early:?}");
    timeout(Duration::from_secs(5), receiver.stop()).await.expect("nothing is left to wait for");
}
