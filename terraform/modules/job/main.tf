# A job of Cloud Run: a run of the image that ends, started by a person or a pipeline. For migrations, and for replays and
# rebuilds that take hours and must not be scaled away.
#
# A task that is moved to another machine gets SIGTSTP and loses its connections; the fleet connects again, and a replay
# or a rebuild goes on where its last chunk was committed.

module "container" {
  source = "../container"

  project_id      = var.project_id
  name            = "fleet"
  image           = var.image
  args            = var.args
  database        = var.database
  cpu             = var.cpu
  memory          = var.memory
  log             = var.log
  max_connections = var.max_connections
  environment     = var.environment
}

resource "google_cloud_run_v2_job" "this" {
  project             = var.project_id
  location            = var.region
  name                = var.name
  labels              = var.labels
  deletion_protection = var.deletion_protection

  template {
    labels      = var.labels
    task_count  = var.tasks
    parallelism = var.tasks

    template {
      service_account       = var.service_account_email
      timeout               = "${var.timeout_seconds}s"
      max_retries           = var.max_retries
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"

      dynamic "containers" {
        for_each = [module.container.container]
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
  }

  lifecycle {
    ignore_changes = [client, client_version]
  }
}

# An apply that gives the job another image, or other settings, runs it, too, and waits: whoever takes image from this module's output starts
# only after it has succeeded. A failed run fails the apply, and the next apply runs it again (ADR 0024).
resource "terraform_data" "run" {
  count = var.run ? 1 : 0

  triggers_replace = {
    image       = var.image
    database    = var.database.url
    environment = var.environment
  }

  provisioner "local-exec" {
    command = "gcloud run jobs execute \"$JOB\" --project=\"$PROJECT\" --region=\"$REGION\" --wait"
    environment = {
      JOB     = google_cloud_run_v2_job.this.name
      PROJECT = var.project_id
      REGION  = var.region
    }
  }
}

# To start it with settings of this execution, such as the topic of a replay, and to wait for its end.
resource "google_cloud_run_v2_job_iam_member" "runner" {
  for_each = { for grant in setproduct(var.runners, ["roles/run.jobsExecutorWithOverrides", "roles/run.viewer"]) : join(" ", grant) => grant }

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_job.this.name
  role     = each.value[1]
  member   = each.value[0]
}
