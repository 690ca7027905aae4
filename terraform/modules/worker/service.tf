# The shapes push and service.
resource "google_cloud_run_v2_service" "this" {
  count = var.shape == "pool" ? 0 : 1

  project             = var.project_id
  location            = var.region
  name                = var.name
  labels              = var.labels
  deletion_protection = var.deletion_protection
  # Pub/Sub and Cloud Scheduler of this project count as internal.
  ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  # Cloud Run would check the token of a push and then take its signature away, so that the worker could not check it
  # any more. The worker checks more (exactly this audience, exactly this account), so the token is left to it (ADR
  # 0021).
  invoker_iam_disabled = var.shape == "push"

  template {
    labels                           = var.labels
    service_account                  = var.service_account_email
    timeout                          = "${var.timeout_seconds}s"
    max_instance_request_concurrency = var.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"

    scaling {
      min_instance_count = var.instances.min
      max_instance_count = var.instances.max
    }

    dynamic "containers" {
      for_each = local.containers
      content {
        name  = containers.value.name
        image = containers.value.image
        args  = containers.value.args

        dynamic "ports" {
          for_each = containers.value.ports
          content {
            name           = ports.value.name
            container_port = ports.value.container_port
          }
        }

        resources {
          limits = containers.value.limits
          # Between requests there is work, too: sweep, replays, dead letters, metrics.
          cpu_idle          = var.cpu_idle
          startup_cpu_boost = containers.value.startup_cpu_boost
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

  traffic {
    type    = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    percent = 100
  }

  lifecycle {
    # They name the tool that deployed last, and are not configuration.
    ignore_changes = [client, client_version]
  }
}

# What is not pushed wakes nobody, and a sleeping worker sweeps nothing.
resource "google_cloud_scheduler_job" "wake" {
  count = var.wake == null ? 0 : 1

  project          = var.project_id
  region           = var.region
  name             = "${var.name}-wake"
  description      = "Wakes ${var.name}, so that it sweeps what the bus lost."
  schedule         = var.wake
  time_zone        = "Etc/UTC"
  attempt_deadline = "180s"

  http_target {
    http_method = "GET"
    # Not /healthz, which Google's front end keeps for itself on run.app.
    uri = "${google_cloud_run_v2_service.this[0].uri}/readyz"
  }

  retry_config {
    retry_count = 3
  }
}
