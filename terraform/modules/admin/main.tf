# The admin API of the whole fleet, the console, and the measuring of lag.

locals {
  http = 8080

  environment = {
    DATABASE_URL          = var.database.url
    FLEET_HTTP_LISTEN     = "0.0.0.0:${local.http}"
    FLEET_LOG             = var.log
    FLEET_LOG_FORMAT      = "json"
    FLEET_MAX_CONNECTIONS = tostring(var.max_connections)
    GOOGLE_CLOUD_PROJECT  = var.project_id
  }

  # With IAP in front, IAP calls the service and people are let through by IAP.
  invokers = var.access == "iap" ? toset(["serviceAccount:service-${data.google_project.this[0].number}@gcp-sa-iap.iam.gserviceaccount.com"]) : var.operators
}

data "google_project" "this" {
  count = var.access == "iap" ? 1 : 0

  project_id = var.project_id
}

module "collector" {
  source = "../collector"

  project_id = var.project_id
  name       = var.name
  image      = var.collector_image
  ports      = [local.http]
}

resource "google_cloud_run_v2_service" "this" {
  project             = var.project_id
  location            = var.region
  name                = var.name
  labels              = var.labels
  deletion_protection = var.deletion_protection
  # internal: from this project's networks only. iam: from anywhere, with a token of an operator. iap: from anywhere,
  # through Google's login. None of them lets anybody in without being named in operators.
  ingress     = var.access == "internal" ? "INGRESS_TRAFFIC_INTERNAL_ONLY" : "INGRESS_TRAFFIC_ALL"
  iap_enabled = var.access == "iap"


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

    containers {
      name  = "admin"
      image = var.image
      args  = ["admin"]

      ports {
        name           = "http1"
        container_port = local.http
      }

      resources {
        limits = { cpu = tostring(var.cpu), memory = var.memory }
        # Whoever measures lag must not be asleep between two scrapes.
        cpu_idle          = false
        startup_cpu_boost = true
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

      # A revision that cannot reach its database never becomes ready, and the one before it goes on working.
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
      for_each = module.collector.containers
      content {
        name  = containers.value.name
        image = containers.value.image
        args  = containers.value.args

        resources {
          limits   = containers.value.limits
          cpu_idle = false
        }

        dynamic "env" {
          for_each = containers.value.environment
          content {
            name  = env.key
            value = env.value
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
    # Which tool applied last is nobody's configuration.
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
resource "google_project_iam_member" "operator" {
  for_each = var.access == "iap" ? var.operators : toset([])

  project = var.project_id
  role    = "roles/iap.httpsResourceAccessor"
  member  = each.value

  condition {
    title       = var.name
    description = "Only the admin API of the fleet."
    expression  = "request.host == \"${trimprefix(google_cloud_run_v2_service.this.uri, "https://")}\""
  }
}
