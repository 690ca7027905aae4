mock_provider "google" {
  override_during = plan
}

variables {
  project_id            = "fleet-test"
  region                = "europe-west1"
  image                 = "europe-west1-docker.pkg.dev/fleet-test/fleet/fleet@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  service_account_email = "fleet-run@fleet-test.iam.gserviceaccount.com"
  database = {
    url             = "postgres://fleet@localhost/fleet?host=/cloudsql/fleet-test:europe-west1:fleet&sslmode=disable"
    password_secret = "fleet-fleet-password"
    instance        = "fleet-test:europe-west1:fleet"
  }
  name = "fleet-migrate"
  args = ["migrate"]
}

run "a_migration_is_one_task_that_may_be_tried_again" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_job.this.template[0].template[0].containers[0].args == tolist(["migrate"])
    error_message = "The command is the argument."
  }
  assert {
    condition     = google_cloud_run_v2_job.this.template[0].task_count == 1 && google_cloud_run_v2_job.this.template[0].template[0].max_retries == 1
    error_message = "It may be run many times."
  }
  assert {
    condition     = output.connections == 3
    error_message = "Its pool has two, and one looks who the primary is."
  }
  assert {
    condition     = google_cloud_run_v2_job.this.template[0].template[0].timeout == "3600s"
    error_message = "Cloud Run's own ten minutes are too short for an index."
  }
}

run "a_replay_may_take_a_week" {
  command = plan

  variables {
    name            = "fleet-replay"
    args            = ["worker"]
    timeout_seconds = 604800
    max_connections = 10
    environment     = { FLEET_TOPIC = "progress-events" }
  }

  assert {
    condition     = google_cloud_run_v2_job.this.template[0].template[0].timeout == "604800s"
    error_message = "That is Cloud Run's limit."
  }
  assert {
    condition     = module.container.container.environment.FLEET_TOPIC == "progress-events" && module.container.container.environment.DATABASE_URL == var.database.url
    error_message = "Its own settings, and those of every run."
  }
  assert {
    condition     = output.connections == 11 && module.container.container.environment.FLEET_MAX_CONNECTIONS == "10"
    error_message = "Ten of its pools, and one that looks who the primary is."
  }
}

run "a_rebuild_is_shared_by_tasks_that_run_all_at_once" {
  command = plan

  variables {
    name            = "fleet-build"
    args            = ["build"]
    tasks           = 8
    max_connections = 8
  }

  assert {
    condition     = google_cloud_run_v2_job.this.template[0].task_count == 8 && google_cloud_run_v2_job.this.template[0].parallelism == 8
    error_message = "One that waited for another would wait for nothing: each has parts of its own."
  }
  assert {
    condition     = output.connections == 72
    error_message = "Of all tasks."
  }
}

run "nothing_else_is_shared_by_tasks" {
  command = plan

  variables {
    tasks = 2
  }

  expect_failures = [var.tasks]
}

run "it_reaches_the_database_like_everything_else" {
  command = plan

  assert {
    condition     = [for env in google_cloud_run_v2_job.this.template[0].template[0].containers[0].env : "${env.value_source[0].secret_key_ref[0].secret} ${env.value_source[0].secret_key_ref[0].version}" if env.name == "PGPASSWORD"] == ["fleet-fleet-password latest"]
    error_message = "The password is a secret."
  }
  assert {
    condition     = contains(google_cloud_run_v2_job.this.template[0].template[0].volumes[0].cloud_sql_instance[0].instances, "fleet-test:europe-west1:fleet")
    error_message = "By the socket."
  }
}

run "who_may_start_it_is_named" {
  command = plan

  variables {
    runners = ["serviceAccount:deploy@fleet-test.iam.gserviceaccount.com"]
  }

  assert {
    condition     = [for grant in google_cloud_run_v2_job_iam_member.runner : "${grant.name} ${grant.role}"] == ["fleet-migrate roles/run.jobsExecutorWithOverrides", "fleet-migrate roles/run.viewer"]
    error_message = "Of this job and of no other."
  }
}

run "more_than_a_week_is_refused" {
  command = plan

  variables {
    timeout_seconds = 604801
    max_retries     = 11
    runners         = ["allUsers"]
  }

  expect_failures = [var.timeout_seconds, var.max_retries, var.runners]
}

run "nothing_is_run_unasked" {
  command = plan

  assert {
    condition     = length(terraform_data.run) == 0
    error_message = "A replay is started by a person."
  }
}

run "what_is_asked_for_is_run_again_with_another_image_or_database_or_other_settings" {
  command = plan

  variables {
    run         = true
    environment = { FLEET_GRANT = "append=fleet_event_store" }
  }

  assert {
    condition     = terraform_data.run[0].triggers_replace.image == var.image && terraform_data.run[0].triggers_replace.database == var.database.url && terraform_data.run[0].triggers_replace.environment.FLEET_GRANT == "append=fleet_event_store"
    error_message = "Each may lack migrations, or grants."
  }
  assert {
    condition     = output.image == var.image
    error_message = "Known in the plan, and there after the run."
  }
}
