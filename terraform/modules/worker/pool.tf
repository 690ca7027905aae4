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

    dynamic "containers" {
      for_each = local.containers
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
          for_each = containers.value.secrets
          content {
            name = env.key
            value_source {
              secret_key_ref {
                secret  = env.value.secret
                version = env.value.version
              }
            }
          }
        }

        dynamic "startup_probe" {
          for_each = containers.value.startup_probes
          content {
            period_seconds    = 3
            timeout_seconds   = startup_probe.value.timeout_seconds
            failure_threshold = 40
            http_get {
              path = startup_probe.value.path
              port = startup_probe.value.port
            }
          }
        }
        dynamic "liveness_probe" {
          for_each = containers.value.liveness_probes
          content {
            period_seconds    = 10
            timeout_seconds   = 5
            failure_threshold = 6
            http_get {
              path = liveness_probe.value.path
              port = liveness_probe.value.port
            }
          }
        }

        dynamic "volume_mounts" {
          for_each = containers.value.mounts
          content {
            name       = volume_mounts.key
            mount_path = volume_mounts.value
          }
        }
      }
    }

    dynamic "vpc_access" {
      for_each = var.network == null ? [] : [var.network]
      content {
        # Pub/Sub is reached the short way, and only private addresses go through the network; but all of it where the event
        # store is called that lets nobody in but the network. What leads on to Google is Private Google Access.
        egress = module.container.egress
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
