# The shape pool.
resource "google_cloud_run_v2_worker_pool" "this" {
  count = var.shape == "pool" ? 1 : 0

  project             = var.project_id
  location            = var.region
  name                = var.name
  labels              = var.labels
  deletion_protection = var.deletion_protection

  # No autoscaler on the backlog: a second worker of a topic waits for the first one's aggregates more than it helps
  # (ADR 0020). Where min and max differ, Cloud Run follows the CPU.
  scaling {
    scaling_mode          = local.scales ? "AUTOMATIC" : "MANUAL"
    manual_instance_count = local.scales ? null : var.instances.min
    min_instance_count    = local.scales ? var.instances.min : null
    max_instance_count    = local.scales ? var.instances.max : null
  }

  template {
    labels          = var.labels
    service_account = var.service_account_email

    containers {
      name  = "worker"
      image = var.image
      args  = ["worker"]

      resources {
        limits = { cpu = tostring(var.cpu), memory = var.memory }
      }

      dynamic "env" {
        for_each = local.environment
        content {
          name  = env.key
          value = env.value
        }
      }
      dynamic "env" {
        for_each = var.database.password_secret == null ? [] : [var.database]
        content {
          name = "PGPASSWORD"
          value_source {
            secret_key_ref {
              secret  = env.value.password_secret
              version = env.value.password_version
            }
          }
        }
      }

      # A pool has no address, but its probes need the port all the same.
      startup_probe {
        period_seconds    = 3
        timeout_seconds   = 3
        failure_threshold = 40
        http_get {
          path = "/readyz"
          port = local.http
        }
      }
      # Whether the process answers, not whether the database does: restarting whoever waits for the database helps
      # nobody.
      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 6
        http_get {
          path = "/healthz"
          port = local.http
        }
      }

      dynamic "volume_mounts" {
        for_each = var.database.instance == null ? [] : [1]
        content {
          name       = "cloudsql"
          mount_path = "/cloudsql"
        }
      }
    }

    dynamic "containers" {
      for_each = local.sidecars
      content {
        name  = containers.value.name
        image = containers.value.image
        args  = containers.value.args

        resources {
          limits = containers.value.limits
        }

        dynamic "env" {
          for_each = containers.value.environment
          content {
            name  = env.key
            value = env.value
          }
        }
        dynamic "env" {
          for_each = containers.value.database && var.database.password_secret != null ? [var.database] : []
          content {
            name = "PGPASSWORD"
            value_source {
              secret_key_ref {
                secret  = env.value.password_secret
                version = env.value.password_version
              }
            }
          }
        }

        dynamic "startup_probe" {
          for_each = containers.value.probe_port == null ? [] : [containers.value.probe_port]
          content {
            period_seconds    = 3
            failure_threshold = 40
            http_get {
              path = "/healthz"
              port = startup_probe.value
            }
          }
        }

        dynamic "volume_mounts" {
          for_each = containers.value.database && var.database.instance != null ? [1] : []
          content {
            name       = "cloudsql"
            mount_path = "/cloudsql"
          }
        }
      }
    }

    dynamic "vpc_access" {
      for_each = var.network == null ? [] : [var.network]
      content {
        # Pub/Sub is reached the short way; only private addresses go through the network.
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          network    = vpc_access.value.network
          subnetwork = vpc_access.value.subnetwork
        }
      }
    }

    dynamic "volumes" {
      for_each = var.database.instance == null ? [] : [var.database.instance]
      content {
        name = "cloudsql"
        cloud_sql_instance {
          instances = [volumes.value]
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, client_version]
  }
}
