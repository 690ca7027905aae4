# Alerts on what the platform itself measures: they work when no process of the fleet does.
#
# Each is one condition for the whole fleet, grouped, because conditions are billed each. Metric names are those of
# Cloud Monitoring in PromQL: the first slash is a colon, every other special character an underscore.

locals {
  of_workers      = "monitored_resource=\"pubsub_subscription\",subscription_id=~\"${join("|", keys(var.subscriptions))}\""
  of_dead_letters = "monitored_resource=\"pubsub_subscription\",subscription_id=~\"${join("|", formatlist("%s-dead-letter", keys(var.subscriptions)))}\""
  of_database     = "database_id=\"${var.project_id}:${try(var.database.instance, "")}\""

  # Shared by alerts and dashboard.
  oldest_unacked = "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.of_workers}})"
  waiting        = "sum by (subscription_id) (pubsub_googleapis_com:subscription_num_undelivered_messages{${local.of_workers}})"
  acked          = "sum by (subscription_id) (rate(pubsub_googleapis_com:subscription_ack_message_count{${local.of_workers}}[5m]))"
  dead_letters   = "sum by (subscription_id) (pubsub_googleapis_com:subscription_num_undelivered_messages{${local.of_dead_letters}})"
  backends       = "sum by (database_id) (cloudsql_googleapis_com:database_postgresql_num_backends{${local.of_database}})"
  disk           = "max by (database_id) (cloudsql_googleapis_com:database_disk_bytes_used{${local.of_database}})"
  cpu            = "max by (database_id) (cloudsql_googleapis_com:database_cpu_utilization{${local.of_database}})"

  # Subscriptions with one retention share an expression.
  by_retention = { for name, subscription in var.subscriptions : subscription.retention_days => name... }

  # The share of the last time in which the oldest message was too old, against the budget of the objective.
  burn = {
    for window in ["5m", "1h", "6h", "3d"] : window =>
    "avg_over_time((${local.oldest_unacked} > bool ${try(var.slo.seconds, 60)})[${window}:1m])"
  }
  budget = 1 - try(var.slo.goal, 0.99)

  platform = merge(
    {
      UnackedMessageOld = {
        severity = "page"
        expr     = "${local.oldest_unacked} > ${var.unacked_seconds}"
        lasts    = 60 * var.unacked_minutes
        meaning  = "The oldest message of a subscription has waited for more than ${var.unacked_seconds} s. Readers see the past."
        first    = "fleet status --watch"
      }
      SubscriptionStalled = {
        severity = "page"
        # `unless`, because a subscription that nobody acknowledges may have no rate at all to compare with.
        expr    = "${local.waiting} > 0 unless on (subscription_id) ${local.acked} > 0"
        lasts   = 600
        meaning = "Messages wait and none was acknowledged for 10 min: there is no worker, or it can do nothing."
        first   = "fleet status"
      }
      MessagesNearExpiry = {
        severity = "page"
        expr = join(" or ", [
          for days, names in local.by_retention :
          "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age{monitored_resource=\"pubsub_subscription\",subscription_id=~\"${join("|", names)}\"}) > ${floor(days * 86400 * 0.8)}"
        ])
        lasts   = 300
        meaning = "A message has waited for four fifths of the time that its subscription keeps it. Then the bus forgets it, and only the sweep still has it."
        first   = "fleet status"
      }
      DeadLettersArrive = {
        severity = "ticket"
        expr     = "sum by (subscription_id) (increase(pubsub_googleapis_com:subscription_dead_letter_message_count{${local.of_workers}}[10m])) > 0"
        lasts    = 0
        meaning  = "The bus gave up on messages, after 100 deliveries of each. Workers park poison themselves, so this is something that no worker could even answer for."
        first    = "fleet status"
      }
      DeadLettersWait = {
        severity = "ticket"
        expr     = "${local.dead_letters} > 0"
        lasts    = 1800
        meaning  = "Dead letters have waited for half an hour: nobody takes them back."
        first    = "gcloud pubsub subscriptions pull SUBSCRIPTION-dead-letter --limit=5"
      }
    },
    var.delivery == "push" ? {
      PushFailing = {
        severity = "ticket"
        expr     = "sum by (subscription_id) (rate(pubsub_googleapis_com:subscription_push_request_count{${local.of_workers},response_class!=\"ack\"}[10m])) / clamp_min(sum by (subscription_id) (rate(pubsub_googleapis_com:subscription_push_request_count{${local.of_workers}}[10m])), 0.01) > 0.05"
        lasts    = 600
        meaning  = "More than one push in twenty fails. Each comes again, and each failure is one of a message's 100 attempts."
        first    = "gcloud run services logs read WORKER --limit=50"
      }
      } : {
      AckDeadlinesExpire = {
        severity = "ticket"
        expr     = "sum by (subscription_id) (rate(pubsub_googleapis_com:subscription_expired_ack_deadlines_count{${local.of_workers}}[10m])) / clamp_min(sum by (subscription_id) (rate(pubsub_googleapis_com:subscription_ack_message_count{${local.of_workers}}[10m])), 0.05) > 0.01"
        lasts    = 900
        meaning  = "More than one message in a hundred is not acknowledged in time. Workers do work that comes again, and each time is one of a message's 100 attempts."
        first    = "fleet status --watch"
      }
    },
    var.slo == null ? {} : {
      BusFreshnessBurnFast = {
        severity = "page"
        expr     = "${local.burn["1h"]} > ${14.4 * local.budget} and ${local.burn["5m"]} > ${14.4 * local.budget}"
        lasts    = 120
        meaning  = "At this rate the whole month's budget of lateness is gone in two days."
        first    = "fleet status --watch"
      }
      BusFreshnessBurnSlow = {
        severity = "ticket"
        expr     = "${local.burn["3d"]} > ${local.budget} and ${local.burn["6h"]} > ${local.budget}"
        lasts    = 3600
        meaning  = "Messages have been late a little too often for three days. At this rate the month's objective is missed."
        first    = "fleet status"
      }
    },
    var.database == null ? {} : {
      DatabaseDiskNearLimit = {
        severity = "page"
        expr     = "${local.disk} > ${floor(var.database.disk_limit_gb * pow(1024, 3) * 0.8)}"
        lasts    = 600
        meaning  = "The database has used four fifths of what its disk may grow to. When it is full, every append fails."
        first    = "gcloud sql instances describe ${var.database.instance}"
      }
      DatabaseConnectionsNearLimit = {
        severity = "page"
        expr     = "${local.backends} > ${floor(var.database.max_connections * 0.8)}"
        lasts    = 300
        meaning  = "Four fifths of the database's connections are taken. Beyond the last, new instances of the fleet do not start."
        first    = "select usename, application_name, state, count(*) from pg_stat_activity group by 1, 2, 3 order by 4 desc"
      }
      DatabaseBusy = {
        severity = "ticket"
        expr     = "${local.cpu} > 0.9"
        lasts    = 1800
        meaning  = "The database has had no CPU to spare for half an hour. Everything that the fleet does waits for it."
        first    = "gcloud sql operations list --instance=${var.database.instance} --limit=5"
      }
      TransactionIdsRunOut = {
        severity = "page"
        expr     = "max by (database_id) (cloudsql_googleapis_com:database_postgresql_transaction_id_utilization{${local.of_database}}) > 0.5"
        lasts    = 3600
        meaning  = "Half of the transaction ids are used and not frozen. Near the end Postgres stops taking writes to save the data."
        first    = "select datname, age(datfrozenxid) from pg_database order by 2 desc"
      }
    },
    length(var.jobs) == 0 ? {} : {
      JobFailed = {
        severity = "ticket"
        expr     = "sum by (job_name) (increase(run_googleapis_com:job_completed_execution_count{monitored_resource=\"cloud_run_job\",job_name=~\"${join("|", var.jobs)}\",result=\"failed\"}[10m])) > 0"
        lasts    = 0
        meaning  = "A job ended with an error, after its retries."
        first    = "gcloud run jobs executions list --job=JOB --limit=3"
      }
    },
  )

  wanted = { for name, alert in local.platform : name => alert if var.signals == null || contains(coalesce(var.signals, []), name) }
}
