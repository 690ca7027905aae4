# Plans only, against a mock.
mock_provider "google" {
  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
}

variables {
  project_id  = "fleet-test"
  event_store = "serviceAccount:event-store@fleet-test.iam.gserviceaccount.com"
  workers     = "serviceAccount:worker@fleet-test.iam.gserviceaccount.com"
}

run "there_are_the_three_topics" {
  command = plan

  assert {
    condition     = keys(module.topic) == ["integration-events", "progress-events", "vocabulary-events"]
    error_message = "The fleet has these three topics."
  }
  assert {
    condition = { for name, topic in local.topics : name => "${topic.subscription} ${topic.retention_days}" } == {
      vocabulary-events  = "vocabulary-projection 7"
      progress-events    = "progress-projection 30"
      integration-events = "integration-projection 7"
    }
    error_message = "Subscriptions and retention are those of events/src/topic.rs."
  }
}

run "only_integration_events_adopts" {
  command = plan

  assert {
    condition     = [for name, topic in local.topics : name if topic.adopts] == ["integration-events"]
    error_message = "On the other topics a foreign event would be parked, so nobody foreign may publish there."
  }
}

run "a_push_to_an_unknown_topic_is_refused" {
  command = plan

  variables {
    push = {
      learner-events = {
        endpoint              = "https://worker.example.com/push"
        service_account_email = "push@fleet-test.iam.gserviceaccount.com"
        audience              = "fleet"
      }
    }
  }

  expect_failures = [var.push]
}

run "a_project_number_is_no_project_id" {
  command = plan

  variables {
    project_id = "123456789012"
  }

  expect_failures = [var.project_id]
}
