mock_provider "google" {
  override_during = plan

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
}

variables {
  project_id = "fleet-test"
  region     = "europe-west1"
  network_id = "projects/fleet-test/global/networks/fleet"
  users      = { fleet = ["fleet-run@fleet-test.iam.gserviceaccount.com"] }
}

run "it_is_postgres_16_of_a_stated_edition" {
  command = plan

  assert {
    condition     = google_sql_database_instance.this.database_version == "POSTGRES_16" && google_sql_database_instance.this.settings[0].edition == "ENTERPRISE"
    error_message = "Unset, the edition would be ENTERPRISE_PLUS."
  }
}

run "it_has_no_public_address" {
  command = plan

  assert {
    condition     = google_sql_database_instance.this.settings[0].ip_configuration[0].ipv4_enabled == false && length(google_sql_database_instance.this.settings[0].ip_configuration[0].authorized_networks) == 0
    error_message = "The internet has no way to it."
  }
  assert {
    condition     = google_sql_database_instance.this.settings[0].ip_configuration[0].private_network == "projects/fleet-test/global/networks/fleet"
    error_message = "Its one address is in the fleet's network."
  }
}

run "a_password_alone_opens_nothing" {
  command = plan

  assert {
    condition     = google_sql_database_instance.this.settings[0].connector_enforcement == "REQUIRED" && google_sql_database_instance.this.settings[0].ip_configuration[0].ssl_mode == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    error_message = "Connections come from Cloud SQL's connectors, which ask IAM."
  }
  assert {
    condition     = [for grant in google_project_iam_member.client : "${grant.role} ${grant.member}"] == ["roles/cloudsql.client serviceAccount:fleet-run@fleet-test.iam.gserviceaccount.com"]
    error_message = "IAM lets these accounts in."
  }
  assert {
    condition     = strcontains(google_project_iam_member.client["fleet-run@fleet-test.iam.gserviceaccount.com"].condition[0].expression, "projects/fleet-test/instances/fleet\"")
    error_message = "To this instance and to no other."
  }
}

run "a_public_address_opens_no_network" {
  command = plan

  variables {
    public_address = true
  }

  assert {
    condition     = google_sql_database_instance.this.settings[0].ip_configuration[0].ipv4_enabled && length(google_sql_database_instance.this.settings[0].ip_configuration[0].authorized_networks) == 0 && google_sql_database_instance.this.settings[0].connector_enforcement == "REQUIRED"
    error_message = "Connectors get in on it, and nobody else."
  }
}

run "any_moment_of_a_week_can_be_recovered" {
  command = plan

  assert {
    condition     = google_sql_database_instance.this.settings[0].backup_configuration[0].enabled && google_sql_database_instance.this.settings[0].backup_configuration[0].point_in_time_recovery_enabled
    error_message = "Backups and the log since the last one."
  }
  assert {
    condition     = google_sql_database_instance.this.settings[0].backup_configuration[0].transaction_log_retention_days == 7 && google_sql_database_instance.this.settings[0].backup_configuration[0].backup_retention_settings[0].retained_backups == 14
    error_message = "The store cannot be rebuilt from anything else."
  }
  assert {
    condition     = google_sql_database_instance.this.settings[0].retain_backups_on_delete
    error_message = "Backups outlive the instance."
  }
}

run "it_refuses_to_be_deleted_twice_over" {
  command = plan

  assert {
    condition     = google_sql_database_instance.this.deletion_protection && google_sql_database_instance.this.settings[0].deletion_protection_enabled
    error_message = "By Terraform, and by the console."
  }
}

run "connections_are_written_down" {
  command = plan

  assert {
    condition     = one([for flag in google_sql_database_instance.this.settings[0].database_flags : flag.value if flag.name == "max_connections"]) == "200" && output.max_connections == 200
    error_message = "7.5 GB carry 200."
  }
}

run "a_small_machine_carries_few" {
  command = plan

  variables {
    tier = "db-f1-micro"
  }

  assert {
    condition     = output.max_connections == 25
    error_message = "0.6 GB carry 25."
  }
}

run "the_number_can_be_chosen" {
  command = plan

  variables {
    tier            = "db-g1-small"
    max_connections = 90
  }

  assert {
    condition     = output.max_connections == 90
    error_message = "More than the machine's 50, at the risk of whoever chose it."
  }
}

run "a_user_has_a_secret_that_its_account_may_read" {
  command = plan

  assert {
    condition     = google_secret_manager_secret.password["fleet"].secret_id == "fleet-fleet-password" && google_secret_manager_secret.password["fleet"].replication[0].user_managed[0].replicas[0].location == "europe-west1"
    error_message = "Kept where the database is."
  }
  assert {
    condition     = [for grant in google_secret_manager_secret_iam_member.reader : "${grant.secret_id} ${grant.role} ${grant.member}"] == ["fleet-fleet-password roles/secretmanager.secretAccessor serviceAccount:fleet-run@fleet-test.iam.gserviceaccount.com"]
    error_message = "This secret, this account."
  }
}

run "no_password_is_in_the_configuration" {
  command = plan

  assert {
    condition     = google_sql_user.this["fleet"].password == null && google_secret_manager_secret_version.password["fleet"].secret_data == null
    error_message = "These two would be in the state; the write-only ones are not."
  }
  assert {
    condition     = google_sql_user.this["fleet"].password_wo_version == 1 && google_secret_manager_secret_version.password["fleet"].secret_data_wo_version == 1
    error_message = "User and secret change together."
  }
}

run "a_rotation_changes_user_and_secret" {
  command = plan

  variables {
    password_rotation = 2
  }

  assert {
    condition     = google_sql_user.this["fleet"].password_wo_version == 2 && google_secret_manager_secret_version.password["fleet"].secret_data_wo_version == 2
    error_message = "One without the other would lock everybody out."
  }
}

run "the_connection_says_where_and_not_what" {
  command = plan

  assert {
    condition     = output.connections["fleet"].url == "postgres://fleet@localhost/fleet?host=/cloudsql/fleet-test:europe-west1:fleet&sslmode=disable"
    error_message = "A URL with a socket, and without a password."
  }
  assert {
    condition     = output.connections["fleet"].password_secret == "fleet-fleet-password" && output.connections["fleet"].password_version == "1" && output.connections["fleet"].instance == "fleet-test:europe-west1:fleet"
    error_message = "The secret by name and version."
  }
}

run "two_users_keep_their_secrets_apart" {
  command = plan

  variables {
    users = {
      fleet  = ["fleet-run@fleet-test.iam.gserviceaccount.com"]
      report = ["report@fleet-test.iam.gserviceaccount.com"]
    }
  }

  assert {
    condition     = { for grant in google_secret_manager_secret_iam_member.reader : grant.secret_id => grant.member } == { fleet-fleet-password = "serviceAccount:fleet-run@fleet-test.iam.gserviceaccount.com", fleet-report-password = "serviceAccount:report@fleet-test.iam.gserviceaccount.com" }
    error_message = "Neither may read the other's."
  }
}

run "a_budget_that_fits_is_silent" {
  command = plan

  variables {
    demand          = { event-store = { instances = 2, connections = 13 }, worker = { instances = 3, connections = 12 } }
    job_connections = 12
  }

  assert {
    condition     = output.demand == 2 * (2 * 13 + 3 * 12) + 12 + 10
    error_message = "Instances times connections, twice; jobs; reserve."
  }
}

run "a_budget_that_does_not_fit_is_told" {
  command = plan

  variables {
    tier   = "db-f1-micro"
    demand = { worker = { instances = 1, connections = 8 } }
  }

  expect_failures = [check.connection_budget]
}

run "the_budget_counts_jobs" {
  command = plan

  variables {
    tier            = "db-f1-micro"
    demand          = { worker = { instances = 1, connections = 4 } }
    job_connections = 8
  }

  expect_failures = [check.connection_budget]
}

run "an_edition_without_this_machine_is_refused" {
  command = plan

  variables {
    edition = "ENTERPRISE_PLUS"
    tier    = "db-g1-small"
  }

  expect_failures = [var.edition]
}

run "a_standby_of_a_shared_core_is_refused" {
  command = plan

  variables {
    tier         = "db-f1-micro"
    availability = "REGIONAL"
  }

  expect_failures = [var.availability]
}

run "recovering_further_back_than_backups_are_kept_is_refused" {
  command = plan

  variables {
    edition          = "ENTERPRISE_PLUS"
    tier             = "db-perf-optimized-N-2"
    recovery_days    = 30
    retained_backups = 14
  }

  expect_failures = [var.recovery_days]
}

run "a_user_of_cloud_sqls_own_is_refused" {
  command = plan

  variables {
    users = { postgres = ["fleet-run@fleet-test.iam.gserviceaccount.com"] }
  }

  expect_failures = [var.users]
}

run "what_cloud_sql_would_refuse_is_refused_before" {
  command = plan

  variables {
    region               = "europe-west1-b"
    name                 = "Fleet"
    tier                 = "n1-standard-1"
    disk_gb              = 5
    max_connections      = 5000
    flags                = { max_connections = "10" }
    backup_hour          = 24
    retained_backups     = 1
    maintenance          = { day = 0, hour = 3 }
    password_rotation    = 0
    reserved_connections = 0
    job_connections      = -1
  }

  expect_failures = [
    var.region,
    var.name,
    var.tier,
    var.disk_gb,
    var.max_connections,
    var.flags,
    var.backup_hour,
    var.retained_backups,
    var.maintenance,
    var.password_rotation,
    var.reserved_connections,
    var.job_connections,
  ]
}

run "a_disk_that_may_not_even_have_its_first_size_is_refused" {
  command = plan

  variables {
    disk_gb       = 50
    disk_limit_gb = 40
  }

  expect_failures = [var.disk_limit_gb]
}

run "more_than_a_week_back_is_refused_without_plus" {
  command = plan

  variables {
    recovery_days = 8
  }

  expect_failures = [var.recovery_days]
}
