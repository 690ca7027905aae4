mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
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
  appenders = ["serviceAccount:commands@fleet-test.iam.gserviceaccount.com"]
}

run "grpc_is_what_cloud_run_sends_requests_to" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.this.template[0].containers[0].ports[0].name == "h2c" && google_cloud_run_v2_service.this.template[0].containers[0].ports[0].container_port == 50051
    error_message = "gRPC wants HTTP/2 to the container."
  }
  assert {
    condition     = module.container.container.environment.FLEET_GRPC_LISTEN == "0.0.0.0:50051" && module.container.container.environment.FLEET_HTTP_LISTEN == "0.0.0.0:8080"
    error_message = "PORT is that of gRPC: without FLEET_HTTP_LISTEN both would want it."
  }
  assert {
    condition     = google_cloud_run_v2_service.this.template[0].containers[0].args == tolist(["event-store"])
    error_message = "The role is the argument."
  }
}

run "it_is_probed_by_http_beside_grpc" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.this.template[0].containers[0].startup_probe[0].http_get[0].port == 8080 && google_cloud_run_v2_service.this.template[0].containers[0].startup_probe[0].http_get[0].path == "/readyz"
    error_message = "Without a port, the probe would speak HTTP to gRPC."
  }
  assert {
    condition     = google_cloud_run_v2_service.this.template[0].containers[0].liveness_probe[0].http_get[0].port == 8080 && google_cloud_run_v2_service.this.template[0].containers[0].liveness_probe[0].http_get[0].path == "/healthz"
    error_message = "Alive by itself, whatever the database does."
  }
}

run "the_relay_works_between_requests" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.this.template[0].containers[0].resources[0].cpu_idle == false && google_cloud_run_v2_service.this.template[0].scaling[0].min_instance_count == 1
    error_message = "A CPU that is there only during requests would relay nothing but by chance."
  }
  assert {
    condition     = !contains(keys(module.container.container.environment), "FLEET_NO_RELAY")
    error_message = "Somebody must relay."
  }
}

run "streams_may_last_an_hour" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.this.template[0].timeout == "3600s"
    error_message = "Imports and subscriptions are streams."
  }
}

run "nobody_is_let_in_who_is_not_named" {
  command = plan

  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.invoker) == ["serviceAccount:commands@fleet-test.iam.gserviceaccount.com"] && google_cloud_run_v2_service.this.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY" && google_cloud_run_v2_service.this.invoker_iam_disabled != true
    error_message = "The program trusts the check of Cloud Run, which therefore is never off."
  }
}

run "appenders_and_readers_are_invokers_of_this_service_and_the_program_says_which_of_both" {
  command = plan

  variables {
    readers = ["serviceAccount:reports@fleet-test.iam.gserviceaccount.com"]
  }

  assert {
    condition     = [for grant in google_cloud_run_v2_service_iam_member.invoker : "${grant.name} ${grant.role} ${grant.member}"] == ["fleet-event-store roles/run.invoker serviceAccount:commands@fleet-test.iam.gserviceaccount.com", "fleet-event-store roles/run.invoker serviceAccount:reports@fleet-test.iam.gserviceaccount.com"]
    error_message = "And of no other."
  }
  assert {
    condition     = module.container.container.environment.FLEET_AUTH == "cloud-run,google:${output.audience}" && google_cloud_run_v2_service.this.custom_audiences == tolist([output.audience]) && jsondecode(module.container.container.environment.FLEET_ROLES) == { appender = ["commands@fleet-test.iam.gserviceaccount.com"], reader = ["reports@fleet-test.iam.gserviceaccount.com"] }
    error_message = "Whoever appends does not read by that, nor the other way round."
  }
}

run "appending_from_outside_still_takes_a_token" {
  command = plan

  variables {
    ingress = "all"
  }

  assert {
    condition     = google_cloud_run_v2_service.this.ingress == "INGRESS_TRAFFIC_ALL" && google_cloud_run_v2_service.this.invoker_iam_disabled != true && length(google_cloud_run_v2_service_iam_member.invoker) == 1
    error_message = "Ingress says from where, IAM says who."
  }
}

run "a_store_that_nobody_may_call_is_refused" {
  command = plan

  variables {
    appenders = []
  }

  expect_failures = [var.appenders]
}

run "its_audience_is_an_address_that_is_known_before_it_is_there" {
  command = plan

  assert {
    condition     = output.audience == "https://fleet-event-store-123456789012.europe-west1.run.app"
    error_message = "Its own settings could not name an address that only comes with it."
  }
}

run "groups_are_refused_because_no_token_names_them" {
  command = plan

  variables {
    appenders = ["group:commands@example.com"]
  }

  expect_failures = [var.appenders]
}

run "groups_are_refused_as_readers_too" {
  command = plan

  variables {
    readers = ["group:reports@example.com"]
  }

  expect_failures = [var.readers]
}

run "its_connections_are_the_pools_the_writers_and_the_watchs" {
  command = plan

  assert {
    condition     = module.container.container.environment.FLEET_MAX_CONNECTIONS == "12" && output.connections == 14
    error_message = "The one that writes and the one that watches are besides the pool."
  }
}

run "the_password_is_a_secret" {
  command = plan

  assert {
    condition     = [for env in google_cloud_run_v2_service.this.template[0].containers[0].env : env.value_source[0].secret_key_ref[0].secret if env.name == "PGPASSWORD"] == ["fleet-fleet-password"]
    error_message = "By name."
  }
}

run "everybody_is_refused_as_an_appender" {
  command = plan

  variables {
    appenders = ["allUsers"]
  }

  expect_failures = [var.appenders]
}

run "a_whole_domain_is_refused_as_an_appender" {
  command = plan

  variables {
    appenders = ["domain:example.com"]
  }

  expect_failures = [var.appenders]
}

run "what_cloud_run_would_refuse_is_refused_before" {
  command = plan

  variables {
    instances       = { min = 3, max = 2 }
    timeout_seconds = 3601
    concurrency     = 0
    ingress         = "vpn"
  }

  expect_failures = [var.instances, var.timeout_seconds, var.concurrency, var.ingress]
}
