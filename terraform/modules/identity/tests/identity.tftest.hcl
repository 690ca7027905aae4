mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
  mock_resource "google_service_account" {
    defaults = {
      name   = "projects/fleet-test/serviceAccounts/fleet-push@fleet-test.iam.gserviceaccount.com"
      email  = "fleet-push@fleet-test.iam.gserviceaccount.com"
      member = "serviceAccount:fleet-push@fleet-test.iam.gserviceaccount.com"
    }
  }
}

variables {
  project_id  = "fleet-test"
  name        = "fleet-push"
  description = "Pub/Sub pushes as this account."
}

run "it_may_do_nothing_unless_said" {
  command = plan

  assert {
    condition     = length(google_project_iam_member.this) == 0 && length(google_service_account_iam_member.pubsub_signs) == 0
    error_message = "An account and nothing else."
  }
}

run "pubsub_signs_as_this_account_only" {
  command = plan

  variables {
    signed_by_pubsub = true
  }

  assert {
    condition     = google_service_account_iam_member.pubsub_signs[0].role == "roles/iam.serviceAccountTokenCreator" && google_service_account_iam_member.pubsub_signs[0].service_account_id == "projects/fleet-test/serviceAccounts/fleet-push@fleet-test.iam.gserviceaccount.com"
    error_message = "On the account, not on the project."
  }
  assert {
    condition     = google_service_account_iam_member.pubsub_signs[0].member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    error_message = "The agent is named by the number of the project, not by its id."
  }
}

run "grants_to_it_can_be_planned_before_it_is_there" {
  command = plan

  assert {
    condition     = output.email == "fleet-push@fleet-test.iam.gserviceaccount.com" && output.member == "serviceAccount:fleet-push@fleet-test.iam.gserviceaccount.com"
    error_message = "Known from its name and its project."
  }
}

run "roles_are_the_accounts" {
  command = plan

  variables {
    roles = ["roles/monitoring.metricWriter"]
  }

  assert {
    condition     = [for grant in google_project_iam_member.this : "${grant.role} ${grant.member}"] == ["roles/monitoring.metricWriter serviceAccount:fleet-push@fleet-test.iam.gserviceaccount.com"]
    error_message = "What was asked for."
  }
}

run "a_role_for_everything_is_refused" {
  command = plan

  variables {
    roles = ["roles/editor"]
  }

  expect_failures = [var.roles]
}

run "a_name_that_is_too_short_is_refused" {
  command = plan

  variables {
    name = "push"
  }

  expect_failures = [var.name]
}
