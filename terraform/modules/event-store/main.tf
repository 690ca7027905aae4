# The event store: gRPC append and read, and the relay to Pub/Sub. Any number of instances may run; one of them relays
# each topic, under a lease.
#
# An instance lives on for some minutes after its last request, with its CPU. That is enough for the relay to publish
# what was appended, so that a small fleet may scale to zero. What the bus refuses meanwhile waits for the next append,
# and read models for their workers' sweep: where that is too late, keep one instance.

locals {
  http = 8080
  grpc = 50051

  # The one address of the service that is known before it is there.
  audience = "https://${var.name}-${data.google_project.this.number}.${var.region}.run.app"

  containers = concat([module.container.container], module.collector.containers)
}

data "google_project" "this" {
  project_id = var.project_id
}

module "container" {
  source = "../container"

  project_id      = var.project_id
  name            = "event-store"
  image           = var.image
  args            = ["event-store"]
  database        = var.database
  cpu             = var.cpu
  memory          = var.memory
  log             = var.log
  traced          = var.collector_image != null
  max_connections = var.max_connections
  http_port       = local.http
  # HTTP/2 without TLS, which is what gRPC is behind Cloud Run's front end. PORT is this one, so the one of HTTP must be
  # stated.
  serves = { name = "h2c", container_port = local.grpc }
  # Cloud Run asks for a token before it lets anybody through, because the invokers below are all that there are, and takes
  # its signature away; but not where it was shown another one for itself, as the fleet's own programs do.
  auth        = "cloud-run,google:${local.audience}"
  roles       = { appender = var.appenders, reader = var.readers }
  environment = { FLEET_GRPC_LISTEN = "0.0.0.0:${local.grpc}" }
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
  # Who may call is decided by IAM (the invokers below), what for by FLEET_ROLES; from where, by ingress.
  ingress = var.ingress == "internal" ? "INGRESS_TRAFFIC_INTERNAL_ONLY" : "INGRESS_TRAFFIC_ALL"

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
          # The relay works between requests.
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

# Each by name. There is no way to say allUsers: the variables refuse it.
resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = setunion(var.appenders, var.readers)

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.this.name
  role     = "roles/run.invoker"
  member   = each.value
}
