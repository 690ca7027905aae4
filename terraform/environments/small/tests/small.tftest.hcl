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
  operators       = ["user:ada@example.com"]
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
    condition     = output.connections.demand == 70
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
    condition     = alltrue([for name, topic in module.topic : module.worker[name].push.endpoint != null]) && output.connections.demand == 85
    error_message = "Subscriptions push to the new ones; the others are counted once, because they are never rolled out."
  }
}

run "a_rebuild_may_have_a_job_of_its_own" {
  command = plan

  variables {
    build = { tasks = 1, cpu = 1, memory = "1Gi", max_connections = 8 }
  }

  assert {
    condition     = module.build[0].name == "fleet-build" && output.connections.demand == 70 + 9 && output.connections.demand <= output.connections.takes
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

run "each_role_has_a_user_of_its_own_and_no_password_but_its_own" {
  command = plan

  assert {
    condition = { for user, accounts in local.users : user => [for account in accounts : split("@", account)[0]] } == {
      fleet                    = ["fleet-migrate"]
      fleet_admin              = ["fleet-run"]
      fleet_event_store        = ["fleet-run"]
      fleet_job                = ["fleet-run"]
      fleet_worker_integration = ["fleet-run"]
      fleet_worker_progress    = ["fleet-run"]
      fleet_worker_vocabulary  = ["fleet-run"]
    }
    error_message = "Migrations alone log in as the owner."
  }
  assert {
    condition     = toset(keys(module.database.connections)) == toset(keys(local.users))
    error_message = "Each has a password."
  }
  assert {
    condition = toset(local.grants) == toset([
      "append=fleet_event_store", "relay=fleet_event_store", "prune=fleet_event_store", "admin=fleet_admin",
      "worker:vocabulary-events=fleet_worker_vocabulary", "worker:vocabulary-events=fleet_job",
      "worker:progress-events=fleet_worker_progress", "worker:progress-events=fleet_job",
      "worker:integration-events=fleet_worker_integration", "worker:integration-events=fleet_job",
    ])
    error_message = "Each user has what its role needs, and no more."
  }
}

run "who_reads_a_read_model_is_granted_it" {
  command = plan

  variables {
    readers = { learner_progress = ["ada@example.com", "reports"] }
  }

  assert {
    condition     = length(setsubtract(["reader:learner_progress=ada@example.com", "reader:learner_progress=reports"], local.grants)) == 0
    error_message = "By the migrations."
  }
}

run "a_reader_that_no_grant_could_name_is_refused" {
  command = plan

  variables {
    readers = { learner_progress = ["ada,admin=ada"] }
  }

  expect_failures = [var.readers]
}

run "a_public_database_beside_an_internal_event_store_is_refused" {
  command = plan

  variables {
    database_public_address = true
  }

  expect_failures = [var.database_public_address]
}

run "a_public_database_beside_an_event_store_that_is_reached_from_anywhere_is_taken" {
  command = plan

  variables {
    database_public_address = true
    event_store_ingress     = "all"
  }

  assert {
    condition     = local.event_store.internal == false
    error_message = "Nothing but private addresses goes through the network then."
  }
}

run "the_worker_that_adopts_may_append_as_the_fleets_account" {
  command = plan

  assert {
    condition     = local.adopters == toset([module.identity.member])
    error_message = "Nobody has to name it."
  }
}
