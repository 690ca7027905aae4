//! What both buses promise, claim by claim: the embedded one always, Google's through its emulator where there is one.

mod buses;
mod chaos;
mod claims;
mod embedded;
mod emulator;
mod outage;
mod receiver;

macro_rules! conformance {
    ($($claim:ident)*) => {
        mod embedded_bus {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                super::claims::$claim(super::buses::Buses::embedded()).await;
            })*
        }
        mod google_bus {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                if let Some(buses) = super::buses::Buses::google() {
                    super::claims::$claim(buses).await;
                }
            })*
        }
    };
}

conformance! {
    what_is_published_is_received
    attributes_and_binary_data_survive
    an_acked_message_does_not_come_again
    a_nacked_message_comes_again_under_its_id
    a_dropped_receipt_comes_again
    two_receivers_share_a_subscription
    every_subscription_gets_every_message
    a_full_channel_stops_nothing_but_itself
    stop_gives_back_what_was_not_settled
    stop_waits_for_what_was_handed_over
    stop_on_an_idle_subscription_returns
    a_receiver_that_goes_away_stops_the_subscription
    a_missing_subscription_is_an_error
    a_missing_topic_confirms_nothing
    what_is_within_every_limit_is_carried
    a_message_beyond_a_limit_is_refused_for_good_with_its_request
    a_page_of_any_size_is_sent_in_requests_within_the_limits
    the_fifth_failure_goes_to_the_dead_letters
    setting_up_twice_changes_nothing
}
