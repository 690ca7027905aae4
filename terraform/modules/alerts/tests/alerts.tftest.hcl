mock_provider "google" {
  override_during = plan

  mock_resource "google_monitoring_custom_service" {
    defaults = {
      name = "projects/123456789012/services/fleet"
    }
  }
}

variables {
  project_id = "fleet-test"
  runbooks   = "https://example.com/fleet/docs/runbooks"
  delivery   = "pull"
  subscriptions = {
    vocabulary-projection = { retention_days = 7 }
    progress-projection   = { retention_days = 30 }
  }
  channels = {
    page   = ["projects/fleet-test/notificationChannels/1"]
    ticket = ["projects/fleet-test/notificationChannels/2"]
  }
  database = { instance = "fleet", max_connections = 200, disk_limit_gb = 500 }
  jobs     = ["fleet-migrate"]
  slo      = {}
}

run "every_alert_has_one_condition_for_the_whole_fleet" {
  command = plan

  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.this : length(policy.conditions) == 1])
    error_message = "Conditions are billed each."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.this["UnackedMessageOld"].conditions[0].condition_prometheus_query_language[0].query, "subscription_id=~\"progress-projection|vocabulary-projection\"")
    error_message = "One expression, grouped by subscription."
  }
}

run "every_alert_has_a_runbook_of_its_name" {
  command = plan

  assert {
    condition     = alltrue([for name, policy in google_monitoring_alert_policy.this : policy.documentation[0].links[0].url == "https://example.com/fleet/docs/runbooks/${name}.md" && strcontains(policy.documentation[0].content, "First: `")])
    error_message = "And the first command to run."
  }
  assert {
    condition     = alltrue([for name in output.names : fileexists("../../../docs/runbooks/${name}.md")])
    error_message = "A link to a page that is not there is worse than none: ${join(", ", [for name in output.names : name if !fileexists("../../../docs/runbooks/${name}.md")])}"
  }
}

run "pages_wake_and_tickets_wait" {
  command = plan

  assert {
    condition     = google_monitoring_alert_policy.this["UnackedMessageOld"].severity == "CRITICAL" && google_monitoring_alert_policy.this["UnackedMessageOld"].notification_channels == tolist(["projects/fleet-test/notificationChannels/1"])
    error_message = "A page goes to who is on call."
  }
  assert {
    condition     = google_monitoring_alert_policy.this["DeadLettersWait"].severity == "WARNING" && google_monitoring_alert_policy.this["DeadLettersWait"].notification_channels == tolist(["projects/fleet-test/notificationChannels/2"])
    error_message = "A ticket does not."
  }
  assert {
    condition     = google_monitoring_alert_policy.this["UnackedMessageOld"].alert_strategy[0].auto_close == "1800s" && google_monitoring_alert_policy.this["DeadLettersWait"].alert_strategy[0].auto_close == "604800s"
    error_message = "A ticket outlives the weekend."
  }
}

run "a_metric_that_was_never_written_is_no_mistake" {
  command = plan

  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.this : policy.conditions[0].condition_prometheus_query_language[0].disable_metric_validation])
    error_message = "There were no dead letters yet."
  }
}

run "expiry_follows_the_retention_of_each_subscription" {
  command = plan

  assert {
    condition     = strcontains(local.platform["MessagesNearExpiry"].expr, "subscription_id=~\"vocabulary-projection\"}) > 483840") && strcontains(local.platform["MessagesNearExpiry"].expr, "subscription_id=~\"progress-projection\"}) > 2073600")
    error_message = "Four fifths of 7 days, and of 30."
  }
}

run "dead_letters_are_those_of_the_fleets_subscriptions" {
  command = plan

  assert {
    condition     = strcontains(local.platform["DeadLettersWait"].expr, "progress-projection-dead-letter|vocabulary-projection-dead-letter")
    error_message = "By the names that the module topic gives them."
  }
}

run "a_dead_worker_has_no_rate_and_is_found_all_the_same" {
  command = plan

  assert {
    condition     = strcontains(local.platform["SubscriptionStalled"].expr, " unless on (subscription_id) ")
    error_message = "Compared with a rate that is not there, the alert would be silent."
  }
}

run "pull_and_push_have_signals_of_their_own" {
  command = plan

  assert {
    condition     = contains(output.names, "AckDeadlinesExpire") && !contains(output.names, "PushFailing")
    error_message = "Nobody pushes here."
  }
}

run "push_has_its_own" {
  command = plan

  variables {
    delivery = "push"
  }

  assert {
    condition     = contains(output.names, "PushFailing") && !contains(output.names, "AckDeadlinesExpire")
    error_message = "A push that is late is a push that failed."
  }
}

run "the_database_is_watched_by_its_own_limits" {
  command = plan

  assert {
    condition     = endswith(local.platform["DatabaseConnectionsNearLimit"].expr, "> 160") && endswith(local.platform["DatabaseDiskNearLimit"].expr, "> 429496729600")
    error_message = "Four fifths of 200 connections, and of 500 GB."
  }
  assert {
    condition     = strcontains(local.platform["DatabaseBusy"].expr, "database_id=\"fleet-test:fleet\"")
    error_message = "This instance."
  }
}

run "a_small_fleet_takes_the_few_that_matter" {
  command = plan

  variables {
    signals = ["UnackedMessageOld", "DeadLettersWait"]
    slo     = null
  }

  assert {
    condition     = join(" ", output.names) == "DeadLettersWait UnackedMessageOld"
    error_message = "These two and no others."
  }
}

run "the_fleets_own_rules_become_alerts" {
  command = plan

  variables {
    rules_file = "../../../deploy/prometheus/alerts.yaml"
  }

  assert {
    condition     = length(setsubtract(flatten([for group in yamldecode(file("../../../deploy/prometheus/alerts.yaml")).groups : [for rule in group.rules : rule.alert if can(rule.alert)]]), output.names)) == 0
    error_message = "All of them."
  }
  assert {
    condition     = google_monitoring_alert_policy.this["LagMetricAbsent"].conditions[0].condition_prometheus_query_language[0].duration == "120s" && google_monitoring_alert_policy.this["ParkedEvents"].conditions[0].condition_prometheus_query_language[0].duration == "900s"
    error_message = "2m and 15m, in seconds."
  }
  assert {
    condition     = google_monitoring_alert_policy.this["ParkedEvents"].severity == "WARNING" && google_monitoring_alert_policy.this["FreshnessBurnFast"].severity == "CRITICAL"
    error_message = "With their severities."
  }
  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.this : !strcontains(policy.documentation[0].content, "{{")])
    error_message = "Templates that only Prometheus fills in would reach on-call as they are."
  }
}

run "all_names_are_told_apart" {
  command = plan

  variables {
    rules_file = "../../../deploy/prometheus/alerts.yaml"
  }

  assert {
    condition     = length(local.alerts) == length(local.wanted) + length(local.fleet)
    error_message = "An alert of the platform and one of the fleet have the same name, and one would hide the other."
  }
}

run "an_objective_for_each_subscription" {
  command = plan

  assert {
    condition     = keys(google_monitoring_slo.freshness) == ["progress-projection", "vocabulary-projection"] && google_monitoring_slo.freshness["progress-projection"].goal == 0.99
    error_message = "Each has a budget of its own."
  }
  assert {
    condition     = google_monitoring_slo.freshness["progress-projection"].windows_based_sli[0].metric_mean_in_range[0].range[0].max == 60
    error_message = "60 s."
  }
}

run "its_budget_burns_in_two_windows" {
  command = plan

  assert {
    condition     = strcontains(local.platform["BusFreshnessBurnFast"].expr, "[1h:1m]) > 0.144") && strcontains(local.platform["BusFreshnessBurnFast"].expr, "[5m:1m]) > 0.144")
    error_message = "14.4 times 1 %: the long window says that it matters, the short one that it goes on."
  }
}

run "without_an_objective_nothing_burns" {
  command = plan

  variables {
    slo = null
  }

  assert {
    condition     = length(google_monitoring_slo.freshness) == 0 && length(google_monitoring_custom_service.this) == 0 && !contains(output.names, "BusFreshnessBurnFast")
    error_message = "None."
  }
}

run "the_dashboard_has_six_tiles_that_ask_what_the_alerts_ask" {
  command = plan

  assert {
    condition     = length(jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles) == 6
    error_message = "Six questions."
  }
  assert {
    condition     = startswith(local.platform["UnackedMessageOld"].expr, jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles[0].widget.xyChart.dataSets[0].timeSeriesQuery.prometheusQuery)
    error_message = "What the alert sees is what the tile shows."
  }
}

run "an_alert_that_does_not_exist_is_refused" {
  command = plan

  variables {
    signals = ["Freshness"]
  }

  expect_failures = [var.signals]
}

run "an_address_is_no_channel" {
  command = plan

  variables {
    channels = { page = ["somebody@example.com"] }
  }

  expect_failures = [var.channels]
}

run "what_makes_no_sense_is_refused" {
  command = plan

  variables {
    runbooks        = "docs/runbooks/"
    subscriptions   = {}
    delivery        = "post"
    unacked_seconds = 5
    unacked_minutes = 0
    slo             = { goal = 1 }
    database        = { instance = "fleet", max_connections = 200, disk_limit_gb = 0 }
  }

  expect_failures = [
    var.runbooks,
    var.subscriptions,
    var.delivery,
    var.unacked_seconds,
    var.unacked_minutes,
    var.slo,
    var.database,
  ]
}

run "the_dashboards_of_grafana_become_dashboards" {
  command = plan

  variables {
    dashboards = "../../../deploy/grafana/dashboards"
  }

  assert {
    condition     = keys(google_monitoring_dashboard.board) == ["fleet", "projection"]
    error_message = "One for each file."
  }
  assert {
    condition = alltrue(flatten([for board in google_monitoring_dashboard.board : [
      for tile in jsondecode(board.dashboard_json).mosaicLayout.tiles : [
        for set in try(tile.widget.xyChart.dataSets, []) : !strcontains(set.timeSeriesQuery.prometheusQuery, "$")
      ]
    ]]))
    error_message = "A variable of Grafana is none here."
  }
  assert {
    condition     = length(jsondecode(google_monitoring_dashboard.board["projection"].dashboard_json).mosaicLayout.tiles) == length(jsondecode(file("../../../deploy/grafana/dashboards/projection.json")).panels)
    error_message = "Each panel is a tile."
  }
}

run "the_log_tells_where_metrics_are_not_collected" {
  command = plan

  variables {
    logs = ["ParkedEvents", "ReadModelDiffers"]
  }

  assert {
    condition     = contains(output.names, "ParkedEvents") && strcontains(google_monitoring_alert_policy.log["ParkedEvents"].conditions[0].condition_matched_log[0].filter, "\"parked; its aggregate is held\"")
    error_message = "What is logged is what is looked for."
  }
  assert {
    condition     = google_monitoring_alert_policy.log["ReadModelDiffers"].severity == "CRITICAL" && google_monitoring_alert_policy.log["ParkedEvents"].documentation[0].links[0].url == "https://example.com/fleet/docs/runbooks/ParkedEvents.md"
    error_message = "Severity and runbook are those of the rule of the same name."
  }
}

run "what_is_measured_is_not_told_of_from_the_log_as_well" {
  command = plan

  variables {
    logs       = ["ParkedEvents"]
    rules_file = "../../../deploy/prometheus/alerts.yaml"
  }

  expect_failures = [google_monitoring_alert_policy.log]
}
