# The objective, where the budget can be seen being used up. Its alerts are in platform.tf: two conditions for all
# subscriptions, where burn rates of objectives would be two for each.
resource "google_monitoring_custom_service" "this" {
  count = var.slo == null ? 0 : 1

  project      = var.project_id
  service_id   = "fleet"
  display_name = "fleet"
  user_labels  = var.labels
}

resource "google_monitoring_slo" "freshness" {
  for_each = var.slo == null ? {} : var.subscriptions

  project             = var.project_id
  service             = google_monitoring_custom_service.this[0].service_id
  slo_id              = "freshness-${each.key}"
  display_name        = "${each.key}: the oldest unacknowledged message is younger than ${var.slo.seconds} s"
  goal                = var.slo.goal
  rolling_period_days = var.slo.days

  # Windows, not messages: a share of few messages says little, and a stalled subscription has none.
  windows_based_sli {
    window_period = "300s"

    metric_mean_in_range {
      time_series = "metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" resource.type=\"pubsub_subscription\" resource.labels.subscription_id=\"${each.key}\""

      range {
        min = 0
        max = var.slo.seconds
      }
    }
  }
}
