# What on-call is told of. Each alert has one condition, one sentence of meaning, the first command to run, and a
# runbook of its name.

locals {
  alerts   = merge(local.wanted, local.fleet)
  severity = { page = "CRITICAL", ticket = "WARNING" }
  # An incident ends by itself when its condition has been quiet for so long; a ticket should outlive the weekend.
  auto_close = { page = "1800s", ticket = "604800s" }
}

resource "google_monitoring_alert_policy" "this" {
  for_each = local.alerts

  project               = var.project_id
  display_name          = each.key
  combiner              = "OR"
  severity              = local.severity[each.value.severity]
  notification_channels = each.value.severity == "page" ? var.channels.page : var.channels.ticket
  user_labels           = merge(var.labels, { severity = each.value.severity })

  conditions {
    display_name = each.key

    condition_prometheus_query_language {
      query               = each.value.expr
      duration            = "${each.value.lasts}s"
      evaluation_interval = "60s"
      alert_rule          = each.key
      rule_group          = "fleet"
      # A metric that was never written, such as the count of dead letters, is no mistake.
      disable_metric_validation = true
    }
  }

  alert_strategy {
    auto_close = local.auto_close[each.value.severity]
  }

  documentation {
    subject   = each.key
    mime_type = "text/markdown"
    content   = "${each.value.meaning}\n\nFirst: `${each.value.first}`\n\nRunbook: ${var.runbooks}/${each.key}.md"

    links {
      display_name = "Runbook"
      url          = "${var.runbooks}/${each.key}.md"
    }
  }
}
