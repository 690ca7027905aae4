# Plans only, against a mock whose ids have the shapes of real ones. With the sizes of an example:
# terraform test -var-file=example/steady.tfvars
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

run "a_worker_has_the_size_of_all_but_where_it_is_an_exception" {
  command = plan

  variables {
    worker_exceptions = { integration-events = { max_connections = 8 } }
  }

  assert {
    condition     = [for name, size in local.workers : size.max_connections] == [8, var.worker.max_connections, var.worker.max_connections]
    error_message = "What is said of one topic is so for that one."
  }
  assert {
    condition     = alltrue([for size in local.workers : size.memory == var.worker.memory && size.cpu == var.worker.cpu && size.instances == var.worker.instances])
    error_message = "What the exception does not name is as in all."
  }
}

run "the_connections_of_all_fit_into_the_database" {
  command = plan

  assert {
    condition     = output.connections.demand <= output.connections.takes
    error_message = "A rollout must not take the database away from everybody."
  }
  assert {
    condition     = output.connections.demand == { steady = 168, large = 418 }[var.environment]
    error_message = "The pools of all, a writer for each event store, and a watch for each process."
  }
}

run "every_role_has_an_account_of_its_own" {
  command = plan

  assert {
    condition     = length(distinct(concat([module.event_store_identity.email, module.admin_identity.email, module.job_identity.email, module.migrate_identity.email], [for identity in module.worker_identity : identity.email]))) == 7
    error_message = "Seven accounts for seven things that run."
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
    event_store = { instances = { min = 0, max = 1 }, cpu = 1, memory = "1Gi", max_connections = 12 }
  }

  expect_failures = [var.event_store]
}

run "push_is_refused" {
  command = plan

  variables {
    worker_shape = "push"
  }

  expect_failures = [var.worker_shape]
}

run "an_exception_for_a_topic_that_is_not_there_is_refused" {
  command = plan

  variables {
    worker_exceptions = { integration = { max_connections = 8 } }
  }

  expect_failures = [var.worker_exceptions]
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
    condition     = output.connections.demand == { steady = 168, large = 418 }[var.environment] + sum([for name, worker in module.previous_worker : local.workers[name].instances.max * worker.connections])
    error_message = "They are counted once, because they are never rolled out."
  }
}

run "a_rebuild_may_have_a_job_of_its_own" {
  command = plan

  variables {
    build = { tasks = 2, cpu = 2, memory = "2Gi", max_connections = 8 }
  }

  assert {
    condition     = module.build[0].name == "fleet-build" && module.build[0].connections == 18
    error_message = "Nine connections for each task."
  }
  assert {
    condition     = output.connections.demand == { steady = 168, large = 418 }[var.environment] + 18 && output.connections.demand <= output.connections.takes
    error_message = "All tasks at once, counted once, because no rollout starts them."
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
    build = { tasks = 2, cpu = 2, memory = "2Gi", max_connections = 7 }
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
      fleet_admin              = ["fleet-admin"]
      fleet_event_store        = ["fleet-event-store"]
      fleet_job                = ["fleet-job"]
      fleet_worker_integration = ["fleet-worker-integration"]
      fleet_worker_progress    = ["fleet-worker-progress"]
      fleet_worker_vocabulary  = ["fleet-worker-vocabulary"]
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

run "the_worker_that_adopts_may_append_and_no_other_worker_may" {
  command = plan

  assert {
    condition     = local.adopters == toset([module.worker_identity["integration-events"].member])
    error_message = "Nobody has to name it."
  }
}
