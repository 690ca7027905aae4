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

run "there_is_a_worker_for_each_topic_and_no_other" {
  command = plan

  assert {
    condition     = toset(keys(module.topic)) == toset([for topic in jsondecode(file("../../../deploy/topics.json")) : topic.name]) && keys(module.worker) == keys(module.topic)
    error_message = "The topics are those of deploy/topics.json."
  }
}

run "the_connections_of_all_fit_into_the_database" {
  command = plan

  assert {
    condition     = output.connections.demand <= output.connections.takes
    error_message = "A rollout must not take the database away from everybody."
  }
  assert {
    condition     = output.connections.demand == 82
    error_message = "The pools of all, a writer for each event store, and a watch for each process."
  }
}

run "each_push_goes_to_the_worker_of_its_topic" {
  command = plan

  assert {
    condition     = alltrue([for name, worker in module.worker : worker.push.audience == "fleet-${name}" && worker.push.service_account_email == module.push_identity.email && endswith(worker.push.endpoint, "/push")])
    error_message = "An audience for each, so that a token for one opens no other."
  }
  assert {
    condition     = alltrue([for name, worker in module.worker : worker.name == "fleet-worker-${trimsuffix(name, "-events")}"])
    error_message = "A worker is named after its topic."
  }
}

run "six_alerts_are_enough" {
  command = plan

  assert {
    condition     = join(" ", module.alerts.names) == "DatabaseDiskNearLimit DeadLettersWait ParkedEvents ReadModelDiffers SubscriptionStalled UnackedMessageOld"
    error_message = "Is it late, did anything fall out, will the database stop."
  }
}

run "without_a_billing_account_there_is_no_budget" {
  command = plan

  variables {
    billing_account = null
  }

  assert {
    condition     = length(module.budget) == 0
    error_message = "The account may be somebody else's."
  }
}

run "a_project_number_is_no_project_id" {
  command = plan

  variables {
    project_id = "123456789012"
  }

  expect_failures = [var.project_id]
}

run "workers_may_be_paid_for_by_the_push" {
  command = plan

  variables {
    worker_cpu_idle = true
  }

  assert {
    condition     = length(module.worker) == 3
    error_message = "All but the one that adopts, whose CPU stays: no validation of theirs is hurt."
  }
}

run "the_previous_image_goes_on_beside_the_new_one_until_it_is_taken_away" {
  command = plan

  variables {
    previous_image = "europe-west1-docker.pkg.dev/fleet-test/fleet/fleet@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  }

  assert {
    condition     = keys(module.previous_worker) == keys(module.worker) && length(setintersection([for worker in module.previous_worker : worker.name], [for worker in module.worker : worker.name])) == 0
    error_message = "A worker for each topic on the previous image, beside that on the new one."
  }
  assert {
    condition     = output.connections.demand <= output.connections.takes
    error_message = "An upgrade must not take the database away from everybody."
  }
  assert {
    condition     = alltrue([for name, topic in module.topic : module.worker[name].push.endpoint != null]) && output.connections.demand == 103
    error_message = "Subscriptions push to the new ones; the others are counted once, because they are never rolled out."
  }
}

run "a_rebuild_may_have_a_job_of_its_own" {
  command = plan

  variables {
    build = { tasks = 1, cpu = 1, memory = "1Gi", max_connections = 8 }
  }

  assert {
    condition     = module.build[0].name == "fleet-build" && output.connections.demand == 82 + 9 && output.connections.demand <= output.connections.takes
    error_message = "Counted once, because no rollout starts it."
  }
}

run "without_it_the_workers_build" {
  command = plan

  assert {
    condition     = length(module.build) == 0
    error_message = "Nobody pays for connections that nobody wants."
  }
}

run "a_task_that_builds_has_room_for_its_connections" {
  command = plan

  variables {
    build = { tasks = 1, cpu = 1, memory = "1Gi", max_connections = 7 }
  }

  expect_failures = [var.build]
}

run "without_a_previous_image_nothing_is_beside" {
  command = plan

  assert {
    condition     = length(module.previous_worker) == 0
    error_message = "It is there for an upgrade only."
  }
}

run "the_previous_image_is_another" {
  command = plan

  variables {
    previous_image = "europe-west1-docker.pkg.dev/fleet-test/fleet/fleet@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  }

  expect_failures = [var.previous_image]
}
