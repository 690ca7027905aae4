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
}

run "it_is_internal_and_nobodys_unless_said" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.this.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY" && google_cloud_run_v2_service.this.invoker_iam_disabled != true
    error_message = "The internet cannot reach it, and IAM asks for a token."
  }
  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.invoker) == 0 && length(google_project_iam_member.operator) == 0
    error_message = "Nobody is granted anything by default."
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

run "with_iam_operators_are_invokers" {
  command = plan

  variables {
    access    = "iam"
    operators = ["group:on-call@example.com"]
  }

  assert {
    condition     = [for grant in google_cloud_run_v2_service_iam_member.invoker : "${grant.role} ${grant.member}"] == ["roles/run.invoker group:on-call@example.com"]
    error_message = "They send a token of their own."
  }
  assert {
    condition     = google_cloud_run_v2_service.this.ingress == "INGRESS_TRAFFIC_ALL" && google_cloud_run_v2_service.this.iap_enabled == false
    error_message = "From anywhere, but with a token."
  }
}

run "with_iap_only_iap_invokes_and_operators_pass_iap" {
  command = plan

  variables {
    access    = "iap"
    operators = ["group:on-call@example.com"]
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
    condition     = [for grant in google_project_iam_member.operator : "${grant.role} ${grant.member}"] == ["roles/iap.httpsResourceAccessor group:on-call@example.com"]
    error_message = "Operators are let through."
  }
  assert {
    condition     = google_project_iam_member.operator["group:on-call@example.com"].condition[0].expression == "request.host == \"fleet-admin-abc123-ew.a.run.app\""
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
