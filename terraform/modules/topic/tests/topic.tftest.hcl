# Plans only: everything promised here is in the configuration, nothing is learned from the service. The mock's ids have
# the shapes of real ones, because the real provider checks them.
mock_provider "google" {
  mock_data "google_project" {
    defaults = {
      id         = "projects/fleet-test"
      project_id = "fleet-test"
      number     = "123456789012"
    }
  }
}

variables {
  project_id   = "fleet-test"
  name         = "progress-events"
  subscription = "progress-projection"
  dead_letter  = "progress-projection-dead-letter"

  retention_days             = 7
  dead_letter_retention_days = 31
  ack_deadline_seconds       = 60
  minimum_backoff_seconds    = 10
  maximum_backoff_seconds    = 600
  max_delivery_attempts      = 100
}

run "what_is_said_of_a_topic_is_so" {
  command = plan

  assert {
    condition     = google_pubsub_subscription.this.ack_deadline_seconds == 60
    error_message = "A worker has 60 s to acknowledge."
  }
  assert {
    condition     = google_pubsub_subscription.this.retry_policy[0].minimum_backoff == "10s" && google_pubsub_subscription.this.retry_policy[0].maximum_backoff == "600s"
    error_message = "Redelivery waits 10 s to 600 s."
  }
  assert {
    condition     = google_pubsub_subscription.this.dead_letter_policy[0].max_delivery_attempts == 100
    error_message = "The broker gives up after 100 deliveries."
  }
  assert {
    condition     = google_pubsub_topic.this.message_retention_duration == "604800s"
    error_message = "A topic keeps messages for 7 days."
  }
}

run "retention_is_of_topic_and_subscription" {
  command = plan

  variables {
    retention_days = 30
  }

  assert {
    condition     = google_pubsub_topic.this.message_retention_duration == "2592000s"
    error_message = "30 days are 2,592,000 s."
  }
  assert {
    condition     = google_pubsub_subscription.this.message_retention_duration == "2592000s"
    error_message = "A subscription that kept less than its topic would lose what a long outage leaves."
  }
}

run "dead_letters_have_a_topic_and_a_subscription_of_one_name" {
  command = plan

  assert {
    condition     = google_pubsub_topic.dead_letter.name == "progress-projection-dead-letter"
    error_message = "The topic has the name that was said."
  }
  assert {
    condition     = google_pubsub_subscription.dead_letter.name == google_pubsub_topic.dead_letter.name
    error_message = "A topic without a subscription loses what is published to it."
  }
  assert {
    condition     = google_pubsub_subscription.dead_letter.message_retention_duration == "2678400s"
    error_message = "Evidence is kept for 31 days."
  }
}

run "the_service_agent_may_do_its_part_on_both_sides" {
  command = plan

  assert {
    condition     = google_pubsub_topic_iam_member.agent_publishes_dead_letters.member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    error_message = "The agent is named by the number of the project, not by its id."
  }
  assert {
    condition     = google_pubsub_topic_iam_member.agent_publishes_dead_letters.topic == "progress-projection-dead-letter" && google_pubsub_topic_iam_member.agent_publishes_dead_letters.role == "roles/pubsub.publisher"
    error_message = "It publishes to the dead-letter topic."
  }
  assert {
    condition     = google_pubsub_subscription_iam_member.agent_acknowledges_dead_letters.subscription == "progress-projection" && google_pubsub_subscription_iam_member.agent_acknowledges_dead_letters.role == "roles/pubsub.subscriber"
    error_message = "It acknowledges on the source subscription."
  }
  assert {
    condition     = google_pubsub_subscription_iam_member.agent_acknowledges_dead_letters.member == google_pubsub_topic_iam_member.agent_publishes_dead_letters.member
    error_message = "Both sides are the same agent."
  }
}

run "no_subscription_expires" {
  command = plan

  assert {
    condition     = google_pubsub_subscription.this.expiration_policy[0].ttl == "" && google_pubsub_subscription.dead_letter.expiration_policy[0].ttl == ""
    error_message = "An unset ttl would mean 31 days."
  }
}

run "without_push_workers_pull" {
  command = plan

  assert {
    condition     = length(google_pubsub_subscription.this.push_config) == 0
    error_message = "There is nobody to push to."
  }
}

run "pushes_carry_a_token_for_the_stated_audience" {
  command = plan

  variables {
    push = {
      endpoint              = "https://worker.example.com/push"
      service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com"
      audience              = "fleet-progress"
    }
  }

  assert {
    condition     = google_pubsub_subscription.this.push_config[0].push_endpoint == "https://worker.example.com/push"
    error_message = "The endpoint is the given one."
  }
  assert {
    condition     = google_pubsub_subscription.this.push_config[0].oidc_token[0].audience == "fleet-progress" && google_pubsub_subscription.this.push_config[0].oidc_token[0].service_account_email == "fleet-push@fleet-test.iam.gserviceaccount.com"
    error_message = "The worker checks audience and account."
  }
}

run "publishers_and_subscribers_get_what_they_need_and_no_more" {
  command = plan

  variables {
    publishers  = ["serviceAccount:event-store@fleet-test.iam.gserviceaccount.com"]
    subscribers = ["serviceAccount:worker@fleet-test.iam.gserviceaccount.com"]
  }

  assert {
    condition     = [for grant in google_pubsub_topic_iam_member.publisher : "${grant.topic} ${grant.role} ${grant.member}"] == ["progress-events roles/pubsub.publisher serviceAccount:event-store@fleet-test.iam.gserviceaccount.com"]
    error_message = "The event store publishes to the topic."
  }
  assert {
    condition     = [for grant in google_pubsub_subscription_iam_member.subscriber : "${grant.subscription} ${grant.role} ${grant.member}"] == ["progress-projection roles/pubsub.subscriber serviceAccount:worker@fleet-test.iam.gserviceaccount.com"]
    error_message = "The workers read the subscription."
  }
  assert {
    condition     = [for grant in google_pubsub_subscription_iam_member.dead_letter_subscriber : grant.subscription] == ["progress-projection-dead-letter"]
    error_message = "The workers read its dead letters."
  }
}

run "what_is_pushed_is_not_pulled_but_dead_letters_are" {
  command = plan

  variables {
    subscribers = ["serviceAccount:worker@fleet-test.iam.gserviceaccount.com"]
    push = {
      endpoint              = "https://worker.example.com/push"
      service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com"
      audience              = "fleet-progress"
    }
  }

  assert {
    condition     = length(google_pubsub_subscription_iam_member.subscriber) == 0
    error_message = "There is nothing to pull, so nobody may."
  }
  assert {
    condition     = [for grant in google_pubsub_subscription_iam_member.dead_letter_subscriber : "${grant.subscription} ${grant.role}"] == ["progress-projection-dead-letter roles/pubsub.subscriber"]
    error_message = "The fleet takes its dead letters back in every shape."
  }
}

run "order_and_exactly_once_are_the_workers_business" {
  command = plan

  assert {
    condition     = google_pubsub_subscription.this.enable_message_ordering != true && google_pubsub_subscription.this.enable_exactly_once_delivery != true && google_pubsub_subscription.this.retain_acked_messages == false
    error_message = "Either would cost throughput, and the topic keeps what is needed to seek."
  }
}

run "messages_stay_in_the_stated_regions" {
  command = plan

  variables {
    allowed_persistence_regions = ["europe-west1"]
  }

  assert {
    condition     = google_pubsub_topic.this.message_storage_policy[0].allowed_persistence_regions == toset(["europe-west1"]) && google_pubsub_topic.dead_letter.message_storage_policy[0].allowed_persistence_regions == toset(["europe-west1"])
    error_message = "Dead letters are messages too."
  }
}

run "no_region_is_no_policy" {
  command = plan

  assert {
    condition     = length(google_pubsub_topic.this.message_storage_policy) == 0
    error_message = "The API refuses a policy without regions."
  }
}

run "what_pubsub_would_refuse_is_refused_before" {
  command = plan

  variables {
    name                       = "google-events"
    subscription               = "2nd-projection"
    retention_days             = 32
    ack_deadline_seconds       = 9
    minimum_backoff_seconds    = 601
    max_delivery_attempts      = 4
    dead_letter                = "google-dead"
    dead_letter_retention_days = 0.5
  }

  expect_failures = [
    var.name,
    var.subscription,
    var.dead_letter,
    var.retention_days,
    var.ack_deadline_seconds,
    var.minimum_backoff_seconds,
    var.max_delivery_attempts,
    var.dead_letter_retention_days,
  ]
}

run "the_longest_wait_is_not_shorter_than_the_shortest" {
  command = plan

  variables {
    minimum_backoff_seconds = 60
    maximum_backoff_seconds = 30
  }

  expect_failures = [var.maximum_backoff_seconds]
}

run "a_push_in_the_clear_is_refused" {
  command = plan

  variables {
    push = {
      endpoint              = "http://worker.example.com/push"
      service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com"
      audience              = "fleet-progress"
    }
  }

  expect_failures = [var.push]
}

run "a_push_without_an_audience_is_refused" {
  command = plan

  variables {
    push = {
      endpoint              = "https://worker.example.com/push"
      service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com"
      audience              = ""
    }
  }

  expect_failures = [var.push]
}

run "nobody_publishes_or_reads_in_public" {
  command = plan

  variables {
    publishers  = ["allUsers"]
    subscribers = ["allAuthenticatedUsers"]
  }

  expect_failures = [var.publishers, var.subscribers]
}
