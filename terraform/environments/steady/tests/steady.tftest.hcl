# Plans only, against a mock whose ids have the shapes of real ones.
mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
  mock_resource "google_cloud_run_v2_service" {
    defaults = {
      uri = "https://fleet-abc123-ew.a.run.app"
    }
  }
  mock_resource "google_sql_database_instance" {
    defaults = {
      connection_name = "fleet-test:europe-west1:fleet"
    }
  }
  mock_resource "google_secret_manager_secret" {
    defaults = {
      id = "projects/fleet-test/secrets/fleet-fleet-password"
    }
  }
  mock_resource "google_secret_manager_secret_version" {
    defaults = {
      version = "1"
    }
  }
  mock_resource "google_compute_network" {
    defaults = {
      id = "projects/fleet-test/global/networks/fleet"
    }
  }
  mock_resource "google_compute_subnetwork" {
    defaults = {
      id = "projects/fleet-test/regions/europe-west1/subnetworks/fleet"
    }
  }
}

variables {
  project_id      = "fleet-test"
  image           = "europe-west1-docker.pkg.dev/fleet-test/fleet/fleet@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  runbooks        = "https://example.com/fleet/docs/runbooks"
  billing_account = "012345-6789AB-CDEF01"
}

run "there_are_the_three_topics" {
  command = plan

  assert {
    condition     = keys(module.topic) == ["integration-events", "progress-events", "vocabulary-events"] && keys(module.worker) == keys(module.topic)
    error_message = "The fleet has these three topics, and a worker for each."
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

run "the_connections_of_all_fit_into_the_database" {
  command = plan

  assert {
    condition     = output.connections.demand <= output.connections.takes
    error_message = "A rollout must not take the database away from everybody."
  }
  assert {
    condition     = output.connections.demand == 172
    error_message = "The pools of all, a writer for each event store, and a watch for each process."
  }
}

run "every_role_has_an_account_of_its_own" {
  command = plan

  assert {
    condition     = length(distinct(concat([module.event_store_identity.email, module.admin_identity.email, module.job_identity.email], [for identity in module.worker_identity : identity.email]))) == 6
    error_message = "Six accounts for six things that run."
  }

  assert {
    condition     = keys(module.worker_identity) == keys(local.topics)
    error_message = "A worker reads the subscription of its own topic and no other."
  }
}

run "the_fleets_own_rules_are_alerts_here" {
  command = plan

  assert {
    condition     = length(setsubtract(["LagMetricAbsent", "ProjectionStalled", "RelayLeadership", "BusFreshnessBurnFast", "DatabaseBusy", "JobFailed", "AckDeadlinesExpire"], module.alerts.names)) == 0
    error_message = "The whole set."
  }
}

run "without_a_collector_nobody_waits_for_its_metrics" {
  command = plan

  variables {
    collector_image = null
  }

  assert {
    condition     = !contains(module.alerts.names, "LagMetricAbsent") && contains(module.alerts.names, "UnackedMessageOld")
    error_message = "An alert on a metric that nobody collects is silent, or rings for ever."
  }
}

run "an_event_store_that_sleeps_is_refused" {
  command = plan

  variables {
    event_store_instances = { min = 0, max = 1 }
  }

  expect_failures = [var.event_store_instances]
}

run "push_is_refused" {
  command = plan

  variables {
    worker_shape = "push"
  }

  expect_failures = [var.worker_shape]
}
