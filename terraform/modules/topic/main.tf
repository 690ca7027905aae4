# A topic, the one subscription of its workers, and the dead letters of that subscription.
#
# Nothing here is protected against being destroyed: the event store has every event, and the workers' sweep takes from
# there what a lost subscription did not deliver.

data "google_project" "this" {
  project_id = var.project_id
}

locals {
  # Pub/Sub itself, as it acts in this project.
  service_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
  # The API and the state have seconds.
  retention             = "${var.retention_days * 86400}s"
  dead_letter_retention = "${var.dead_letter_retention_days * 86400}s"
}

resource "google_pubsub_topic" "this" {
  # checkov:skip=CKV_GCP_83: Google encrypts with keys of its own; keys of yours would be one more thing that stops every event.
  project                    = var.project_id
  name                       = var.name
  labels                     = var.labels
  message_retention_duration = local.retention

  dynamic "message_storage_policy" {
    # The API refuses an empty list.
    for_each = length(var.allowed_persistence_regions) > 0 ? [1] : []
    content {
      allowed_persistence_regions = var.allowed_persistence_regions
    }
  }
}

# No ordering and no exactly-once delivery: the workers put events in order and drop duplicates in the transaction that
# applies them, and either would cost throughput.
resource "google_pubsub_subscription" "this" {
  project                    = var.project_id
  name                       = var.subscription
  topic                      = google_pubsub_topic.this.id
  labels                     = var.labels
  ack_deadline_seconds       = var.ack_deadline_seconds
  message_retention_duration = local.retention
  # The topic keeps them, which is enough to seek.
  retain_acked_messages = false

  # Never. Without this, Google deletes a subscription that nobody read for 31 days, with its backlog.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "${var.minimum_backoff_seconds}s"
    maximum_backoff = "${var.maximum_backoff_seconds}s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter.id
    max_delivery_attempts = var.max_delivery_attempts
  }

  dynamic "push_config" {
    for_each = var.push == null ? [] : [var.push]
    content {
      push_endpoint = push_config.value.endpoint
      # The form of the envelope; what Pub/Sub itself fills in, stated so that no plan shows a difference.
      attributes = {
        x-goog-version = "v1"
      }
      oidc_token {
        service_account_email = push_config.value.service_account_email
        audience              = push_config.value.audience
      }
    }
  }
}

resource "google_pubsub_topic" "dead_letter" {
  # checkov:skip=CKV_GCP_83: Google encrypts with keys of its own; keys of yours would be one more thing that stops every event.
  project = var.project_id
  name    = var.dead_letter
  labels  = var.labels

  dynamic "message_storage_policy" {
    for_each = length(var.allowed_persistence_regions) > 0 ? [1] : []
    content {
      allowed_persistence_regions = var.allowed_persistence_regions
    }
  }
}

# Without a subscription a dead letter would be gone as soon as it is published.
resource "google_pubsub_subscription" "dead_letter" {
  project                    = var.project_id
  name                       = var.dead_letter
  topic                      = google_pubsub_topic.dead_letter.id
  labels                     = var.labels
  ack_deadline_seconds       = var.ack_deadline_seconds
  message_retention_duration = local.dead_letter_retention

  expiration_policy {
    ttl = ""
  }
}
