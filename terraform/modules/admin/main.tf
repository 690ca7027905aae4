# The admin API of the whole fleet, the console, and the measuring of lag.

locals {
  http = 8080

  containers = concat([module.container.container], module.collector.containers)

  # The one address of the service that is known before it is there.
  audience = "https://${var.name}-${data.google_project.this.number}.${var.region}.run.app"

  people = setunion(var.viewers, var.operators, var.payload_readers)

  # With IAP in front, IAP calls the service and people are let through by IAP.
  invokers = var.access == "iap" ? toset(["serviceAccount:service-${data.google_project.this.number}@gcp-sa-iap.iam.gserviceaccount.com"]) : local.people
}

data "google_project" "this" {
  project_id = var.project_id
}

module "container" {
  source = "../container"

  project_id      = var.project_id
  name            = "admin"
  image           = var.image
  args            = ["admin"]
  database        = var.database
  cpu             = var.cpu
  memory          = var.memory
  log             = var.log
  traced          = var.collector_image != null
  max_connections = var.max_connections
  http_port       = local.http
  serves          = { name = "http1", container_port = local.http }
  # IAP signs for whom it lets through. Without it Cloud Run asks for a token before it lets anybody through, because the
  # invokers below are all that there are, and takes its signature away; but not where it was shown another one for itself, as
  # the program `fleet` does with --google-audience.
  auth  = var.access == "iap" ? "iap:/projects/${data.google_project.this.number}/locations/${var.region}/services/${var.name}" : "cloud-run,google:${local.audience}"
  roles = { viewer = var.viewers, operator = var.operators, payload-reader = var.payload_readers }
}

module "collector" {
  source = "../collector"

  project_id = var.project_id
  name       = var.name
  image      = var.collector_image
  ports      = [module.container.metrics_port]
}

resource "google_cloud_run_v2_service" "this" {
  project             = var.project_id
  location            = var.region
  name                = var.name
  labels              = var.labels
  deletion_protection = var.deletion_protection
  # internal: from this project's networks only. iam: from anywhere, with a token. iap: from anywhere, through Google's
  # login. None of them lets anybody in who is not named in viewers, operators or payload_readers.
  ingress     = var.access == "internal" ? "INGRESS_TRAFFIC_INTERNAL_ONLY" : "INGRESS_TRAFFIC_ALL"
  iap_enabled = var.access == "iap"

  # Cloud Run takes tokens for its other address, too.
  custom_audiences = [local.audience]

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
          # Whoever measures lag must not be asleep between two scrapes.
          cpu_idle          = false
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

  traffic {
    type    = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    percent = 100
  }

  lifecycle {
    # They name the tool that deployed last, and are not configuration.
    ignore_changes = [client, client_version]
  }
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = local.invokers

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.this.name
  role     = "roles/run.invoker"
  member   = each.value
}

# On the project, because that is where the role is known to work, and narrowed to this service's host by its condition.
resource "google_project_iam_member" "person" {
  for_each = var.access == "iap" ? local.people : toset([])

  project = var.project_id
  role    = "roles/iap.httpsResourceAccessor"
  member  = each.value

  condition {
    title       = var.name
    description = "Only the admin API of the fleet."
    expression  = "request.host == \"${trimprefix(google_cloud_run_v2_service.this.uri, "https://")}\""
  }
}
