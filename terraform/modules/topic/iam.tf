# Dead-lettering is done by Pub/Sub's service agent: it publishes to the one side and acknowledges on the other.
# Creating the subscription does not check either grant; without them a message that has used up its attempts comes back
# for ever.
resource "google_pubsub_topic_iam_member" "agent_publishes_dead_letters" {
  project = var.project_id
  topic   = google_pubsub_topic.dead_letter.name
  role    = "roles/pubsub.publisher"
  member  = local.service_agent
}

resource "google_pubsub_subscription_iam_member" "agent_acknowledges_dead_letters" {
  project      = var.project_id
  subscription = google_pubsub_subscription.this.name
  role         = "roles/pubsub.subscriber"
  member       = local.service_agent

  # A replaced subscription has the same name and none of its grants, which the state would not notice.
  lifecycle {
    replace_triggered_by = [google_pubsub_subscription.this.id]
  }
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = var.publishers

  project = var.project_id
  topic   = google_pubsub_topic.this.name
  role    = "roles/pubsub.publisher"
  member  = each.value
}

# Where the subscription pushes there is nothing to pull.
resource "google_pubsub_subscription_iam_member" "subscriber" {
  for_each = var.push == null ? var.subscribers : toset([])

  project      = var.project_id
  subscription = google_pubsub_subscription.this.name
  role         = "roles/pubsub.subscriber"
  member       = each.value

  lifecycle {
    replace_triggered_by = [google_pubsub_subscription.this.id]
  }
}

# The fleet takes its dead letters back itself, in every shape.
resource "google_pubsub_subscription_iam_member" "dead_letter_subscriber" {
  for_each = var.subscribers

  project      = var.project_id
  subscription = google_pubsub_subscription.dead_letter.name
  role         = "roles/pubsub.subscriber"
  member       = each.value

  lifecycle {
    replace_triggered_by = [google_pubsub_subscription.dead_letter.id]
  }
}
