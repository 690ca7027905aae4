# Plans only: what is promised here is in the configuration. Attributes that the provider would learn are given by the
# mock, in the shapes of real ones.
mock_provider "google" {
  override_during = plan

  mock_resource "google_cloud_run_v2_service" {
    defaults = {
      uri = "https://fleet-worker-progress-abc123-ew.a.run.app"
    }
  }
}

variables {
  project_id            = "fleet-test"
  region                = "europe-west1"
  name                  = "fleet-worker-progress"
  image                 = "europe-west1-docker.pkg.dev/fleet-test/fleet/fleet@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  service_account_email = "fleet-run@fleet-test.iam.gserviceaccount.com"
  topic                 = "progress-events"
  shape                 = "pool"
  database = {
    url              = "postgres://fleet@localhost/fleet?host=/cloudsql/fleet-test:europe-west1:fleet&sslmode=disable"
    password_secret  = "fleet-fleet-password"
    password_version = "3"
    instance         = "fleet-test:europe-west1:fleet"
  }
  network = {
    network    = "projects/fleet-test/global/networks/fleet"
    subnetwork = "projects/fleet-test/regions/europe-west1/subnetworks/fleet"
  }
}

run "a_pool_pulls_and_has_no_address" {
  command = plan

  assert {
    condition     = length(google_cloud_run_v2_worker_pool.this) == 1 && length(google_cloud_run_v2_service.this) == 0
    error_message = "A pool is a pool."
  }
  assert {
    condition     = module.container.container.environment.FLEET_DELIVERY == "pull" && module.container.container.environment.FLEET_STREAMS == "2" && module.container.container.environment.FLEET_MAX_OUTSTANDING == "2000"
    error_message = "It pulls, as the fleet does by default."
  }
  assert {
    condition     = output.push == null
    error_message = "Nobody can push to it."
  }
}

run "every_shape_runs_the_worker_of_its_topic" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].args == tolist(["worker"])
    error_message = "The role is the argument."
  }
  assert {
    condition     = { for env in google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].env : env.name => env.value if env.name != "PGPASSWORD" } == module.container.container.environment
    error_message = "All settings are environment variables of the container."
  }
  assert {
    condition = module.container.container.environment == {
      DATABASE_URL                = "postgres://fleet@localhost/fleet?host=/cloudsql/fleet-test:europe-west1:fleet&sslmode=disable"
      FLEET_DELIVERY              = "pull"
      FLEET_HTTP_LISTEN           = "0.0.0.0:8080"
      FLEET_LOG                   = "info"
      FLEET_LOG_FORMAT            = "json"
      FLEET_MAX_CONNECTIONS       = "4"
      FLEET_MAX_OUTSTANDING       = "2000"
      FLEET_MAX_OUTSTANDING_BYTES = "50331648"
      FLEET_METRICS_LISTEN        = "127.0.0.1:9464"
      FLEET_STREAMS               = "2"
      FLEET_SWEEP_GRACE           = "10"
      FLEET_TOPIC                 = "progress-events"
      GOOGLE_CLOUD_PROJECT        = "fleet-test"
    }
    error_message = "These are the settings of a worker that pulls; .env.sample has their meaning."
  }
}

run "it_runs_as_its_account" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].template[0].service_account == "fleet-run@fleet-test.iam.gserviceaccount.com"
    error_message = "Not as the default account."
  }
}

run "the_password_comes_from_its_secret_and_from_nowhere_else" {
  command = plan

  assert {
    condition = [
      for env in google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].env :
      "${env.value_source[0].secret_key_ref[0].secret} ${env.value_source[0].secret_key_ref[0].version}" if env.name == "PGPASSWORD"
    ] == ["fleet-fleet-password 3"]
    error_message = "By name and version, so that a rotation is a rollout."
  }
}

run "the_socket_of_cloud_sql_is_mounted_where_the_url_looks" {
  command = plan

  assert {
    condition     = contains(google_cloud_run_v2_worker_pool.this[0].template[0].volumes[0].cloud_sql_instance[0].instances, "fleet-test:europe-west1:fleet")
    error_message = "The volume is of this instance."
  }
  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].volume_mounts[0].mount_path == "/cloudsql"
    error_message = "The URL says host=/cloudsql/…"
  }
}

run "a_database_of_somebody_else_is_reached_by_its_url" {
  command = plan

  variables {
    database = { url = "postgres://fleet@10.1.2.3/fleet?sslmode=verify-full", password_secret = "pg" }
  }

  assert {
    condition     = length(google_cloud_run_v2_worker_pool.this[0].template[0].volumes) == 0 && length(google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].volume_mounts) == 0
    error_message = "There is no socket to mount."
  }
}

run "only_private_addresses_go_through_the_network" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].template[0].vpc_access[0].egress == "PRIVATE_RANGES_ONLY"
    error_message = "Pub/Sub is reached the short way; the network has no way out."
  }
}

run "a_pool_is_probed_on_the_port_that_it_opens" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].startup_probe[0].http_get[0].path == "/readyz" && google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].startup_probe[0].http_get[0].port == 8080
    error_message = "It starts when its database answers."
  }
  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].liveness_probe[0].http_get[0].path == "/healthz"
    error_message = "It lives while it answers itself: restarting whoever waits for the database helps nobody."
  }
}

run "a_start_has_two_minutes_and_not_more_than_cloud_run_allows" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].startup_probe[0].period_seconds * google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].startup_probe[0].failure_threshold == 120
    error_message = "Cloud Run allows 240 s."
  }
  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].startup_probe[0].timeout_seconds <= google_cloud_run_v2_worker_pool.this[0].template[0].containers[0].startup_probe[0].period_seconds
    error_message = "A probe ends before the next one begins."
  }
}

run "a_pool_without_room_has_a_fixed_number" {
  command = plan

  variables {
    instances = { min = 2, max = 2 }
  }

  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].scaling[0].scaling_mode == "MANUAL" && google_cloud_run_v2_worker_pool.this[0].scaling[0].manual_instance_count == 2
    error_message = "Two, always."
  }
}

run "a_pool_with_room_follows_its_cpu" {
  command = plan

  variables {
    instances = { min = 1, max = 3 }
  }

  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].scaling[0].scaling_mode == "AUTOMATIC" && google_cloud_run_v2_worker_pool.this[0].scaling[0].min_instance_count == 1 && google_cloud_run_v2_worker_pool.this[0].scaling[0].max_instance_count == 3
    error_message = "Between the two."
  }
  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].scaling[0].manual_instance_count == null
    error_message = "A manual number would fight the autoscaler in every apply."
  }
}

run "pushes_wake_a_service_that_scales_to_zero" {
  command = plan

  variables {
    shape     = "push"
    instances = { min = 0, max = 2 }
    push      = { audience = "fleet-progress-events", service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com" }
  }

  assert {
    condition     = length(google_cloud_run_v2_service.this) == 1 && length(google_cloud_run_v2_worker_pool.this) == 0
    error_message = "A pool cannot be pushed to."
  }
  assert {
    condition     = google_cloud_run_v2_service.this[0].template[0].scaling[0].min_instance_count == 0 && google_cloud_run_v2_service.this[0].template[0].scaling[0].max_instance_count == 2
    error_message = "To zero, and never beyond what the database carries."
  }
  assert {
    condition     = google_cloud_run_v2_service.this[0].template[0].containers[0].resources[0].cpu_idle == false
    error_message = "Between requests there is work: sweep, replays."
  }
  assert {
    condition     = google_cloud_run_v2_service.this[0].template[0].containers[0].ports[0].container_port == 8080 && module.container.container.environment.FLEET_HTTP_LISTEN == "0.0.0.0:8080"
    error_message = "Cloud Run sends requests to where the worker listens."
  }
}

run "what_pubsub_says_is_what_the_worker_expects" {
  command = plan

  variables {
    shape     = "push"
    instances = { min = 0, max = 2 }
    push      = { audience = "fleet-progress-events", service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com" }
  }

  assert {
    condition     = output.push.audience == module.container.container.environment.FLEET_PUSH_AUDIENCE && output.push.service_account_email == module.container.container.environment.FLEET_PUSH_SERVICE_ACCOUNT && module.container.container.environment.FLEET_DELIVERY == "push"
    error_message = "Subscription and worker have one audience and one account."
  }
  assert {
    condition     = output.push.endpoint == "https://fleet-worker-progress-abc123-ew.a.run.app/push"
    error_message = "The worker takes pushes at /push."
  }
  assert {
    condition     = !contains(keys(module.container.container.environment), "FLEET_PUSH_UNAUTHENTICATED") && !contains(keys(module.container.container.environment), "FLEET_STREAMS")
    error_message = "Tokens are always asked for, and nothing is pulled."
  }
}

run "a_push_is_let_in_from_inside_only_and_its_token_is_left_to_the_worker" {
  command = plan

  variables {
    shape     = "push"
    instances = { min = 0, max = 2 }
    push      = { audience = "fleet-progress-events", service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com" }
  }

  assert {
    condition     = google_cloud_run_v2_service.this[0].ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    error_message = "The internet cannot reach it at all."
  }
  assert {
    condition     = google_cloud_run_v2_service.this[0].invoker_iam_disabled
    error_message = "Cloud Run would take the signature away that the worker checks."
  }
}

run "a_push_has_as_long_as_its_ack_deadline" {
  command = plan

  variables {
    shape     = "push"
    instances = { min = 0, max = 2 }
    push      = { audience = "fleet-progress-events", service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com" }
  }

  assert {
    condition     = google_cloud_run_v2_service.this[0].template[0].timeout == "60s"
    error_message = "The ack deadline is 60 s."
  }
}

run "a_service_that_pulls_is_closed_and_always_awake" {
  command = plan

  variables {
    shape = "service"
  }

  assert {
    condition     = google_cloud_run_v2_service.this[0].ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY" && google_cloud_run_v2_service.this[0].invoker_iam_disabled == false
    error_message = "Nobody has business with it: internal, and IAM asks for a token that nobody is granted."
  }
  assert {
    condition     = google_cloud_run_v2_service.this[0].template[0].scaling[0].min_instance_count == 1 && google_cloud_run_v2_service.this[0].template[0].containers[0].resources[0].cpu_idle == false
    error_message = "No request would wake it."
  }
}

run "both_shapes_of_cloud_run_have_the_same_probes" {
  command = plan

  variables {
    shape = "service"
  }

  assert {
    condition     = google_cloud_run_v2_service.this[0].template[0].containers[0].startup_probe[0].http_get[0].path == "/readyz" && google_cloud_run_v2_service.this[0].template[0].containers[0].liveness_probe[0].http_get[0].path == "/healthz"
    error_message = "Ready by the database, alive by itself."
  }
}

run "a_sleeping_worker_is_woken_to_sweep" {
  command = plan

  variables {
    shape     = "push"
    instances = { min = 0, max = 1 }
    push      = { audience = "fleet-progress-events", service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com" }
    wake      = "0 4 * * *"
  }

  assert {
    condition     = google_cloud_scheduler_job.wake[0].schedule == "0 4 * * *" && google_cloud_scheduler_job.wake[0].http_target[0].uri == "https://fleet-worker-progress-abc123-ew.a.run.app/readyz"
    error_message = "By a request that does nothing but ask whether it is ready."
  }
}

run "nobody_is_woken_unasked" {
  command = plan

  assert {
    condition     = length(google_cloud_scheduler_job.wake) == 0
    error_message = "A pool never sleeps."
  }
}

run "an_adopting_worker_appends_to_the_event_store_as_itself" {
  command = plan

  variables {
    topic       = "integration-events"
    event_store = { uri = "https://fleet-event-store-abc123-ew.a.run.app", audience = "https://fleet-event-store-123456789012.europe-west1.run.app", internal = true }
    network     = { network = "projects/fleet-test/global/networks/fleet", subnetwork = "projects/fleet-test/regions/europe-west1/subnetworks/fleet" }
  }

  assert {
    condition     = [for container in google_cloud_run_v2_worker_pool.this[0].template[0].containers : container.name] == ["worker"]
    error_message = "Nothing runs beside it that could write to the store without being asked."
  }
  assert {
    condition     = module.container.container.environment.FLEET_GRPC == var.event_store.uri && module.container.container.environment.FLEET_GOOGLE_AUDIENCE == var.event_store.audience
    error_message = "By TLS, with a token for its audience, which Cloud Run checks."
  }
  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].template[0].vpc_access[0].egress == "ALL_TRAFFIC"
    error_message = "An internal service lets in what comes out of a network of the project."
  }
  assert {
    condition     = output.connections == 5
    error_message = "4 of its pools, and the watch's."
  }
}

run "an_event_store_that_lets_in_from_anywhere_is_called_the_short_way" {
  command = plan

  variables {
    topic       = "integration-events"
    event_store = { uri = "https://fleet-event-store-abc123-ew.a.run.app", audience = "https://fleet-event-store-123456789012.europe-west1.run.app", internal = false }
    network     = { network = "projects/fleet-test/global/networks/fleet", subnetwork = "projects/fleet-test/regions/europe-west1/subnetworks/fleet" }
  }

  assert {
    condition     = google_cloud_run_v2_worker_pool.this[0].template[0].vpc_access[0].egress == "PRIVATE_RANGES_ONLY"
    error_message = "The network has no way out but to Google's APIs."
  }
}

run "an_internal_event_store_without_a_network_is_refused" {
  command = plan

  variables {
    topic       = "integration-events"
    network     = null
    event_store = { uri = "https://fleet-event-store-abc123-ew.a.run.app", audience = "https://fleet-event-store-123456789012.europe-west1.run.app", internal = true }
  }

  expect_failures = [var.event_store]
}

run "other_workers_call_no_event_store" {
  command = plan

  assert {
    condition     = length(google_cloud_run_v2_worker_pool.this[0].template[0].containers) == 1 && !contains(keys(module.container.container.environment), "FLEET_GRPC") && output.connections == 5
    error_message = "They neither append nor read through it."
  }
}

run "a_collector_reads_the_metrics_that_nobody_else_reaches" {
  command = plan

  variables {
    collector_image = "us-docker.pkg.dev/cloud-ops-agents-artifacts/google-cloud-opentelemetry-collector/otelcol-google:0.138.0"
  }

  assert {
    condition     = [for container in google_cloud_run_v2_worker_pool.this[0].template[0].containers : container.name] == ["worker", "collector"]
    error_message = "The collector is the last."
  }
  assert {
    condition     = yamldecode(one([for env in google_cloud_run_v2_worker_pool.this[0].template[0].containers[1].env : env.value if env.name == "OTELCOL_CONFIG"])).receivers.prometheus.config.scrape_configs[0].static_configs[0].targets == [module.container.container.environment.FLEET_METRICS_LISTEN]
    error_message = "It asks where the worker serves them."
  }
  assert {
    condition     = [for env in google_cloud_run_v2_worker_pool.this[0].template[0].containers[1].env : env.name] == ["OTELCOL_CONFIG"]
    error_message = "It needs no password."
  }
}

run "an_eighth_of_memory_may_be_said_for_messages" {
  command = plan

  variables {
    memory                = "1Gi"
    max_outstanding_bytes = 134217728
  }

  assert {
    condition     = module.container.container.environment.FLEET_MAX_OUTSTANDING_BYTES == "134217728"
    error_message = "What is said goes before the rule."
  }
}

run "the_default_account_is_refused" {
  command = plan

  variables {
    service_account_email = "123456789012-compute@developer.gserviceaccount.com"
  }

  expect_failures = [var.service_account_email]
}

run "a_shape_that_does_not_exist_is_refused" {
  command = plan

  variables {
    shape = "kubernetes"
  }

  expect_failures = [var.shape]
}

run "a_topic_with_its_project_is_refused" {
  command = plan

  variables {
    topic = "projects/fleet-test/topics/progress-events"
  }

  expect_failures = [var.topic]
}

run "push_without_a_token_is_refused" {
  command = plan

  variables {
    shape     = "push"
    instances = { min = 0, max = 1 }
  }

  expect_failures = [var.push]
}

run "a_token_for_a_pool_is_refused" {
  command = plan

  variables {
    push = { audience = "fleet-progress-events", service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com" }
  }

  expect_failures = [var.push]
}

run "pulling_from_zero_is_refused" {
  command = plan

  variables {
    instances = { min = 0, max = 1 }
  }

  expect_failures = [var.instances]
}

run "what_cloud_run_or_the_fleet_would_refuse_is_refused_before" {
  command = plan

  variables {
    region              = "europe-west1-b"
    name                = "Fleet"
    concurrency         = 1001
    timeout_seconds     = 601
    streams             = 65
    max_outstanding     = 0
    sweep_grace_seconds = -1
  }

  expect_failures = [
    var.region,
    var.name,
    var.concurrency,
    var.timeout_seconds,
    var.streams,
    var.max_outstanding,
    var.sweep_grace_seconds,
  ]
}

run "waking_what_never_sleeps_is_refused" {
  command = plan

  variables {
    wake = "0 4 * * *"
  }

  expect_failures = [var.wake]
}

run "only_pushes_may_be_all_that_is_paid_for" {
  command = plan

  variables {
    shape     = "push"
    instances = { min = 0, max = 1 }
    push      = { audience = "fleet-progress-events", service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com" }
    cpu_idle  = true
  }

  assert {
    condition     = google_cloud_run_v2_service.this[0].template[0].containers[0].resources[0].cpu_idle
    error_message = "For whoever chooses so."
  }
}

run "taking_the_cpu_from_who_pulls_is_refused" {
  command = plan

  variables {
    shape    = "service"
    cpu_idle = true
  }

  expect_failures = [var.cpu_idle]
}

run "taking_the_cpu_from_who_adopts_is_refused" {
  command = plan

  variables {
    shape       = "push"
    topic       = "integration-events"
    event_store = { uri = "https://fleet-event-store-abc123-ew.a.run.app", audience = "https://fleet-event-store-123456789012.europe-west1.run.app", internal = false }
    instances   = { min = 0, max = 1 }
    push        = { audience = "fleet-integration-events", service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com" }
    cpu_idle    = true
  }

  expect_failures = [var.cpu_idle]
}

run "waking_who_has_no_cpu_to_sweep_is_refused" {
  command = plan

  variables {
    shape     = "push"
    instances = { min = 0, max = 1 }
    push      = { audience = "fleet-progress-events", service_account_email = "fleet-push@fleet-test.iam.gserviceaccount.com" }
    cpu_idle  = true
    wake      = "0 4 * * *"
  }

  expect_failures = [var.wake]
}
