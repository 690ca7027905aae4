# Alerts on what the fleet logs, for where nobody collects its metrics: what scales to zero cannot be scraped, but says in its log
# what a person has to decide about. Names and runbooks are those of the rules on metrics.

locals {
  known_logs = {
    ParkedEvents = {
      severity = "ticket"
      messages = ["parked; its aggregate is held", "parked a message that is no event of the store"]
      meaning  = "An event could not be applied. Its aggregate is held, everything else flows."
      first    = "fleet dead-letters list"
    }
    ReadModelDiffers = {
      severity = "page"
      messages = ["verify: the live rows are not what the store folds to"]
      meaning  = "A verification found rows that are not what the store folds to: readers are given something that never happened, or lack something that did."
      first    = "fleet operations list"
    }
    ProjectionOutdated = {
      severity = "ticket"
      messages = ["not written by this code"]
      meaning  = "The rows of a projection were built by another version of its code, and this one does not write to them."
      first    = "fleet status"
    }
  }

  logs = { for name, alert in local.known_logs : name => alert if contains(var.logs, name) }
}

resource "google_monitoring_alert_policy" "log" {
  for_each = local.logs

  project               = var.project_id
  display_name          = each.key
  combiner              = "OR"
  severity              = local.severity[each.value.severity]
  notification_channels = each.value.severity == "page" ? var.channels.page : var.channels.ticket
  user_labels           = merge(var.labels, { severity = each.value.severity })

  conditions {
    display_name = each.key

    condition_matched_log {
      filter = join(" AND ", [
        "resource.type=(\"cloud_run_revision\" OR \"cloud_run_worker_pool\" OR \"cloud_run_job\")",
        "severity>=ERROR",
        "jsonPayload.message=(${join(" OR ", [for message in each.value.messages : jsonencode(message)])})",
      ])
      label_extractors = { projection = "EXTRACT(jsonPayload.projection)" }
    }
  }

  alert_strategy {
    auto_close = local.auto_close[each.value.severity]

    # One mail, not one for each event.
    notification_rate_limit {
      period = "3600s"
    }
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

  lifecycle {
    precondition {
      condition     = var.rules_file == null
      error_message = "logs is for where the fleet's own metrics are not collected: with rules_file each of these alerts would come twice."
    }
  }
}
