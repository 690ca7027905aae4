//! Nobody answers: the relay must hear of it long before the client gives up.

use std::net::TcpListener;
use std::time::Duration;

use bus::{Google, Publisher};
use tokio::time::timeout;

use crate::receiver::messages;

#[tokio::test]
async fn an_unreachable_service_is_an_error_within_twenty_seconds() {
    // Accepts connections and never says a word, like a network that swallows everything.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let host = mute.local_addr().expect("it is bound").to_string();
    let publisher = Google::new("conformance", Some(host)).publisher("topic");
    let answer = timeout(Duration::from_secs(20), publisher.publish(messages(0..10))).await;
    let error = answer.expect("it gives up by itself").expect_err("nobody answered");
    assert_eq!(error.confirmed, 0);
}
