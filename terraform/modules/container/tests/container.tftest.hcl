variables {
  project_id      = "fleet-test"
  name            = "worker"
  image           = "europe-west1-docker.pkg.dev/fleet-test/fleet/fleet@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  args            = ["worker"]
  cpu             = 1
  memory          = "512Mi"
  max_connections = 4
  http_port       = 8080
  database = {
    url              = "postgres://fleet@localhost/fleet?host=/cloudsql/fleet-test:europe-west1:fleet&sslmode=disable"
    password_secret  = "fleet-fleet-password"
    password_version = "3"
    instance         = "fleet-test:europe-west1:fleet"
  }
}

run "every_container_has_these_settings_and_those_that_it_is_given" {
  command = plan

  variables {
    environment = { FLEET_TOPIC = "progress-events" }
  }

  assert {
    condition = output.container.environment == {
      DATABASE_URL                = "postgres://fleet@localhost/fleet?host=/cloudsql/fleet-test:europe-west1:fleet&sslmode=disable"
      FLEET_HTTP_LISTEN           = "0.0.0.0:8080"
      FLEET_LOG                   = "info"
      FLEET_LOG_FORMAT            = "json"
      FLEET_MAX_CONNECTIONS       = "4"
      FLEET_MAX_OUTSTANDING_BYTES = "50331648"
      FLEET_METRICS_LISTEN        = "127.0.0.1:9464"
      FLEET_TOPIC                 = "progress-events"
      GOOGLE_CLOUD_PROJECT        = "fleet-test"
    }
    error_message = ".env.sample has their meaning."
  }
}

run "the_password_comes_from_its_secret_and_from_nowhere_else" {
  command = plan

  assert {
    condition     = [for name, from in output.container.secrets : "${name} ${from.secret} ${from.version}"] == ["PGPASSWORD fleet-fleet-password 3"]
    error_message = "By name and version, so that a rotation is a rollout."
  }
}

run "the_socket_of_cloud_sql_is_mounted_where_the_url_looks" {
  command = plan

  assert {
    condition     = [for volume, path in output.container.mounts : "${volume} ${path}"] == ["cloudsql /cloudsql"]
    error_message = "The URL says host=/cloudsql/…"
  }
}

run "a_database_of_somebody_else_is_reached_by_its_url" {
  command = plan

  variables {
    database = { url = "postgres://fleet@10.1.2.3/fleet?sslmode=verify-full", password_secret = "pg" }
  }

  assert {
    condition     = length(output.container.mounts) == 0
    error_message = "There is no socket to mount."
  }
}

run "it_starts_when_its_database_answers_and_lives_while_it_answers_itself" {
  command = plan

  assert {
    condition     = [for probe in output.container.startup_probes : "${probe.path} ${probe.port}"] == ["/readyz 8080"] && [for probe in output.container.liveness_probes : "${probe.path} ${probe.port}"] == ["/healthz 8080"]
    error_message = "Restarting whoever waits for the database helps nobody."
  }
}

run "metrics_are_served_where_nobody_else_reaches_them" {
  command = plan

  assert {
    condition     = output.container.environment.FLEET_METRICS_LISTEN == "127.0.0.1:${output.metrics_port}" && output.metrics_port != 8080
    error_message = "Whoever may call the service may not read its metrics."
  }
}

run "who_is_called_is_told_how_callers_show_who_they_are_and_what_they_may_do" {
  command = plan

  variables {
    args = ["admin"]
    auth = "cloud-run,google:https://fleet-admin-123456789012.europe-west1.run.app"
    roles = {
      viewer         = ["domain:example.com"]
      operator       = ["user:ada@example.com", "serviceAccount:pipeline@fleet-test.iam.gserviceaccount.com"]
      payload-reader = []
    }
  }

  assert {
    condition     = output.container.environment.FLEET_AUTH == "cloud-run,google:https://fleet-admin-123456789012.europe-west1.run.app"
    error_message = "As it is given."
  }
  assert {
    condition     = jsondecode(output.container.environment.FLEET_ROLES) == { viewer = ["domain:example.com"], operator = ["ada@example.com", "pipeline@fleet-test.iam.gserviceaccount.com"] }
    error_message = "A token has the email alone; a role that nobody has is not there."
  }
}

run "a_group_of_iam_has_no_role" {
  command = plan

  variables {
    args  = ["admin"]
    auth  = "cloud-run,google:https://fleet-admin-123456789012.europe-west1.run.app"
    roles = { operator = ["group:on-call@example.com"] }
  }

  expect_failures = [var.roles]
}

run "a_role_that_the_fleet_does_not_know_is_refused" {
  command = plan

  variables {
    args  = ["admin"]
    auth  = "cloud-run,google:https://fleet-admin-123456789012.europe-west1.run.app"
    roles = { owner = ["user:ada@example.com"] }
  }

  expect_failures = [var.roles]
}

run "who_is_called_without_asking_is_refused" {
  command = plan

  variables {
    args = ["admin"]
  }

  expect_failures = [var.auth]
}

run "asking_where_nobody_may_come_is_refused" {
  command = plan

  variables {
    args = ["event-store"]
    auth = "cloud-run,google:https://fleet-admin-123456789012.europe-west1.run.app"
  }

  expect_failures = [var.roles]
}

run "an_event_store_is_called_with_tls_and_a_token" {
  command = plan

  variables {
    event_store = { uri = "https://fleet-event-store-abc123-ew.a.run.app", audience = "https://fleet-event-store-123456789012.europe-west1.run.app", internal = true }
  }

  assert {
    condition     = output.container.environment.FLEET_GRPC == "https://fleet-event-store-abc123-ew.a.run.app" && output.container.environment.FLEET_GOOGLE_AUDIENCE == var.event_store.audience && output.egress == "ALL_TRAFFIC"
    error_message = "Through the network, because it lets nobody else in."
  }
}

run "an_event_store_without_tls_is_refused" {
  command = plan

  variables {
    event_store = { uri = "http://fleet-event-store-abc123-ew.a.run.app", audience = "https://fleet-event-store-123456789012.europe-west1.run.app", internal = true }
  }

  expect_failures = [var.event_store]
}

run "a_run_that_ends_is_not_probed" {
  command = plan

  variables {
    args            = ["migrate"]
    http_port       = null
    max_connections = null
  }

  assert {
    condition     = length(output.container.startup_probes) == 0 && length(output.container.liveness_probes) == 0 && length(output.container.ports) == 0
    error_message = "It listens nowhere."
  }
  assert {
    condition     = !contains(keys(output.container.environment), "FLEET_MAX_CONNECTIONS") && !contains(keys(output.container.environment), "FLEET_HTTP_LISTEN") && !contains(keys(output.container.environment), "FLEET_METRICS_LISTEN")
    error_message = "It has no such settings."
  }
}

run "messages_have_48_MiB_of_512" {
  command = plan

  variables {
    memory = "2Gi"
  }

  assert {
    condition     = output.container.environment.FLEET_MAX_OUTSTANDING_BYTES == tostring(192 * 1024 * 1024)
    error_message = "And four times as much in four times the memory."
  }
}

run "messages_have_no_more_than_the_fleet_takes" {
  command = plan

  variables {
    memory = "64Gi"
  }

  assert {
    condition     = output.container.environment.FLEET_MAX_OUTSTANDING_BYTES == "4294967296"
    error_message = "Written out: the program reads no 4.294967296e+09."
  }
}

run "only_a_worker_holds_messages" {
  command = plan

  variables {
    args  = ["event-store"]
    auth  = "cloud-run,google:https://fleet-admin-123456789012.europe-west1.run.app"
    roles = { reader = ["user:ada@example.com"] }
  }

  assert {
    condition     = !contains(keys(output.container.environment), "FLEET_MAX_OUTSTANDING_BYTES")
    error_message = "The others have no such setting."
  }
}

run "more_than_an_eighth_of_memory_for_messages_is_refused" {
  command = plan

  variables {
    max_outstanding_bytes = 67108865
  }

  expect_failures = [var.max_outstanding_bytes]
}

run "less_for_messages_than_the_fleet_takes_is_refused" {
  command = plan

  variables {
    max_outstanding_bytes = 1048575
  }

  expect_failures = [var.max_outstanding_bytes]
}

run "the_watch_is_counted_beside_the_pools" {
  command = plan

  assert {
    condition     = output.connections == 5
    error_message = "4 of the pools, and the one that looks who the primary is."
  }
}

run "the_writer_of_an_event_store_is_counted_too" {
  command = plan

  variables {
    args  = ["event-store"]
    auth  = "cloud-run,google:https://fleet-admin-123456789012.europe-west1.run.app"
    roles = { reader = ["user:ada@example.com"] }
  }

  assert {
    condition     = output.connections == 6
    error_message = "4 of the pools, the writer's, and the watch's."
  }
}

run "an_image_that_moves_is_refused" {
  command = plan

  variables {
    image = "europe-west1-docker.pkg.dev/fleet-test/fleet/fleet:latest"
  }

  expect_failures = [var.image]
}

run "a_password_in_the_url_is_refused" {
  command = plan

  variables {
    database = { url = "postgres://fleet:secret@10.1.2.3/fleet", password_secret = "pg" }
  }

  expect_failures = [var.database]
}

run "a_container_without_a_command_is_refused" {
  command = plan

  variables {
    args = []
  }

  expect_failures = [var.args]
}

run "a_container_that_would_start_a_whole_fleet_is_refused" {
  command = plan

  variables {
    args = ["dev"]
  }

  expect_failures = [var.args]
}

run "a_secret_in_the_environment_is_refused" {
  command = plan

  variables {
    environment = { PGPASSWORD = "secret" }
  }

  expect_failures = [var.environment]
}

run "what_cloud_run_or_the_fleet_would_refuse_is_refused_before" {
  command = plan

  variables {
    cpu             = 0.5
    memory          = "256Mi"
    log             = "verbose"
    max_connections = 3
  }

  expect_failures = [var.cpu, var.memory, var.log, var.max_connections]
}
