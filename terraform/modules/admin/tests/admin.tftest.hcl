mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
  mock_resource "google_cloud_run_v2_service" {
    defaults = {
      uri = "https://fleet-admin-abc123-ew.a.run.app"
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
  operators = ["user:ada@example.com"]
}

run "it_is_internal_unless_said" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.this.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY" && google_cloud_run_v2_service.this.invoker_iam_disabled != true
    error_message = "The internet cannot reach it, and IAM asks for a token."
  }
  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.invoker) == ["user:ada@example.com"] && length(google_project_iam_member.person) == 0
    error_message = "Nobody is granted anything who is not named."
  }
  assert {
    condition     = module.container.container.environment.FLEET_AUTH == "cloud-run,google:https://fleet-admin-123456789012.europe-west1.run.app" && module.container.container.environment.FLEET_ROLES == jsonencode({ operator = ["ada@example.com"] })
    error_message = "Cloud Run checks the token, and the program says what its owner may do."
  }
}

run "it_measures_lag_all_the_time" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.this.template[0].scaling[0].min_instance_count == 1 && google_cloud_run_v2_service.this.template[0].containers[0].resources[0].cpu_idle == false
    error_message = "A lag that nobody measures looks like none."
  }
  assert {
    condition     = google_cloud_run_v2_service.this.template[0].containers[0].args == tolist(["admin"]) && module.container.container.environment.FLEET_HTTP_LISTEN == "0.0.0.0:8080"
    error_message = "The role is the argument."
  }
}

run "its_connections_are_the_pools_and_the_watchs" {
  command = plan

  assert {
    condition     = output.connections == 5
    error_message = "4 of its pool, and one that looks who the primary is."
  }
}

run "with_iam_all_who_are_named_are_invokers" {
  command = plan

  variables {
    access          = "iam"
    viewers         = ["domain:example.com"]
    payload_readers = ["user:grace@example.com"]
  }

  assert {
    condition     = [for grant in google_cloud_run_v2_service_iam_member.invoker : "${grant.role} ${grant.member}"] == ["roles/run.invoker domain:example.com", "roles/run.invoker user:ada@example.com", "roles/run.invoker user:grace@example.com"]
    error_message = "They send a token of their own."
  }
  assert {
    condition     = module.container.container.environment.FLEET_AUTH == "cloud-run,google:https://fleet-admin-123456789012.europe-west1.run.app" && jsondecode(module.container.container.environment.FLEET_ROLES) == { viewer = ["domain:example.com"], operator = ["ada@example.com"], payload-reader = ["grace@example.com"] }
    error_message = "Each may do what it is named for."
  }
  assert {
    condition     = google_cloud_run_v2_service.this.ingress == "INGRESS_TRAFFIC_ALL" && google_cloud_run_v2_service.this.iap_enabled == false
    error_message = "From anywhere, but with a token."
  }
}

run "with_iap_only_iap_invokes_and_operators_pass_iap" {
  command = plan

  variables {
    access  = "iap"
    viewers = ["domain:example.com"]
  }

  assert {
    condition     = google_cloud_run_v2_service.this.iap_enabled
    error_message = "IAP stands in front."
  }
  assert {
    condition     = [for grant in google_cloud_run_v2_service_iam_member.invoker : grant.member] == ["serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com"]
    error_message = "Nobody gets around it."
  }
  assert {
    condition     = [for grant in google_project_iam_member.person : "${grant.role} ${grant.member}"] == ["roles/iap.httpsResourceAccessor domain:example.com", "roles/iap.httpsResourceAccessor user:ada@example.com"]
    error_message = "All who are named are let through."
  }
  assert {
    condition     = module.container.container.environment.FLEET_AUTH == "iap:/projects/123456789012/locations/europe-west1/services/fleet-admin"
    error_message = "The program checks what IAP signs for this service and for no other."
  }
  assert {
    condition     = google_project_iam_member.person["user:ada@example.com"].condition[0].expression == "request.host == \"fleet-admin-abc123-ew.a.run.app\""
    error_message = "To this service and to no other behind IAP."
  }
}

run "everybody_with_a_google_account_is_refused_as_an_operator" {
  command = plan

  variables {
    operators = ["allAuthenticatedUsers"]
  }

  expect_failures = [var.operators]
}

run "groups_are_refused_because_no_token_names_them" {
  command = plan

  variables {
    operators = ["group:on-call@example.com"]
  }

  expect_failures = [var.operators]
}

run "groups_are_refused_as_viewers_and_readers_of_payloads_too" {
  command = plan

  variables {
    viewers         = ["group:everybody@example.com"]
    payload_readers = ["group:lawyers@example.com"]
  }

  expect_failures = [var.viewers, var.payload_readers]
}

run "an_admin_that_nobody_may_call_is_refused" {
  command = plan

  variables {
    operators = []
  }

  expect_failures = [var.operators]
}

run "public_access_is_no_kind_of_access" {
  command = plan

  variables {
    access = "public"
  }

  expect_failures = [var.access]
}

run "many_measurers_of_one_lag_are_refused" {
  command = plan

  variables {
    instances = { min = 2, max = 4 }
  }

  expect_failures = [var.instances]
}
