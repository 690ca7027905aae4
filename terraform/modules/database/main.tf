# Postgres 16 on Cloud SQL: the event store, the workers' bookkeeping and the read models, in one database (ADR 0006).
#
# It has a private address, and takes connections only from Cloud SQL's own connectors, which ask IAM first: a password
# alone opens nothing.

locals {
  # Megabytes, and the connections that they carry: not more than Cloud SQL itself gives such a machine.
  memory = (
    var.tier == "db-f1-micro" ? 614 :
    var.tier == "db-g1-small" ? 1740 :
    try(tonumber(regex("^db-custom-[0-9]+-([0-9]+)$", var.tier)[0]), tonumber(regex("^db-perf-optimized-N-([0-9]+)$", var.tier)[0]) * 8192)
  )
  default_connections = (
    local.memory < 1024 ? 25 :
    local.memory < 3840 ? 50 :
    local.memory < 7680 ? 100 :
    local.memory < 15360 ? 200 :
    local.memory < 30720 ? 400 :
    local.memory < 61440 ? 600 : 800
  )
  max_connections = coalesce(var.max_connections, local.default_connections)
}

resource "google_sql_database_instance" "this" {
  # checkov:skip=CKV_GCP_60: Off unless public_address says otherwise, and then for connectors only; a test holds both.
  # checkov:skip=CKV_GCP_79: The fleet is tested with this version; another one is a decision, not a default.
  # checkov:skip=CKV_GCP_108: Connections come from Cloud SQL's connectors, whose host names say nothing, and each would be looked up.
  # checkov:skip=CKV_GCP_110: Whoever changes anything is in the fleet's own audit, in the same transaction; events are append-only.
  # checkov:skip=CKV2_GCP_13: A line for each statement, at thousands a second; Query Insights has the slow ones.
  project             = var.project_id
  region              = var.region
  name                = var.name
  database_version    = "POSTGRES_16"
  deletion_protection = var.deletion_protection

  settings {
    tier                        = var.tier
    edition                     = var.edition
    availability_type           = var.availability
    disk_type                   = "PD_SSD"
    disk_size                   = var.disk_gb
    disk_autoresize             = true
    disk_autoresize_limit       = var.disk_limit_gb
    connector_enforcement       = "REQUIRED"
    deletion_protection_enabled = var.deletion_protection
    retain_backups_on_delete    = true
    user_labels                 = var.labels

    ip_configuration {
      ipv4_enabled    = var.public_address
      private_network = var.network_id
      ssl_mode        = "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    }

    backup_configuration {
      enabled                        = true
      start_time                     = format("%02d:00", var.backup_hour)
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = var.recovery_days

      backup_retention_settings {
        retained_backups = var.retained_backups
        retention_unit   = "COUNT"
      }
    }

    maintenance_window {
      day          = var.maintenance.day
      hour         = var.maintenance.hour
      update_track = "stable"
    }

    # Which statement is slow, without values.
    insights_config {
      query_insights_enabled  = true
      query_string_length     = 1024
      record_application_tags = true
      record_client_address   = false
    }

    database_flags {
      name  = "max_connections"
      value = tostring(local.max_connections)
    }
    # People log in as themselves, without a password.
    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }
    # What a person needs when it is slow or strange. Of statements only those that change tables: the others carry
    # events.
    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }
    database_flags {
      name  = "log_connections"
      value = "on"
    }
    database_flags {
      name  = "log_disconnections"
      value = "on"
    }
    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }
    database_flags {
      name  = "log_temp_files"
      value = "0"
    }
    database_flags {
      name  = "log_statement"
      value = "ddl"
    }
    database_flags {
      name  = "log_min_error_statement"
      value = "error"
    }

    dynamic "database_flags" {
      for_each = var.flags
      content {
        name  = database_flags.key
        value = database_flags.value
      }
    }
  }

  lifecycle {
    # It grows by itself, and a disk cannot be made smaller: an old number would ask for a new instance.
    ignore_changes = [settings[0].disk_size]
  }
}

resource "google_sql_database" "this" {
  project  = var.project_id
  instance = google_sql_database_instance.this.name
  name     = "fleet"
  # A database that was dropped by mistake is worse than one that was left over.
  deletion_policy = "ABANDON"
}

# The best guard there is against a rollout that takes the database away from everybody.
check "connection_budget" {
  assert {
    condition     = local.demand <= local.max_connections
    error_message = "The fleet may open ${local.demand} connections (${local.demand_explained}), but ${var.tier} takes ${local.max_connections}: fewer instances, smaller pools (max_connections of worker, event-store, admin), or a larger machine."
  }
}

locals {
  rollout          = sum(concat([0], [for part in values(var.demand) : part.instances * part.connections]))
  demand           = 2 * local.rollout + var.job_connections + var.reserved_connections
  demand_explained = "2 x ${local.rollout} of ${join(", ", keys(var.demand))}; ${var.job_connections} of jobs; ${var.reserved_connections} reserved"
}
