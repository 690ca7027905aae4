variable "project_id" {
  description = "Project whose metrics are watched."
  type        = string
}

variable "runbooks" {
  description = "Where the runbooks are read: the address of docs/runbooks, without a slash at its end. Each alert links to the page of its own name."
  type        = string

  validation {
    condition     = can(regex("^https://[^ ]+[^/ ]$", var.runbooks))
    error_message = "runbooks starts with https:// and does not end with a slash, such as https://example.com/fleet/docs/runbooks."
  }
}

variable "channels" {
  description = "Ids of notification channels: page wakes somebody, ticket waits for the morning. Empty: alerts open incidents that nobody is told of."
  type = object({
    page   = optional(list(string), [])
    ticket = optional(list(string), [])
  })
  default = {}

  validation {
    condition     = alltrue([for id in concat(var.channels.page, var.channels.ticket) : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", id))])
    error_message = "channels has ids, projects/P/notificationChannels/ID, not addresses."
  }
}

variable "subscriptions" {
  description = "Subscriptions of the workers, by name, with the days that each keeps messages. Their dead letters are watched, too."
  type        = map(object({ retention_days = number }))

  validation {
    condition     = length(var.subscriptions) > 0 && alltrue([for name in keys(var.subscriptions) : can(regex("^[A-Za-z0-9_-]+$", name))])
    error_message = "subscriptions has at least one name, of letters, digits, hyphens and underscores."
  }
}

variable "delivery" {
  description = "How the subscriptions deliver: push or pull. Failed pushes and missed ack deadlines are signals of one of them only."
  type        = string

  validation {
    condition     = contains(["push", "pull"], var.delivery)
    error_message = "delivery is push or pull."
  }
}

variable "database" {
  description = "The Cloud SQL instance: its name, the connections it takes, and the gigabytes that its disk may grow to. Null: it is watched by somebody else."
  type = object({
    instance        = string
    max_connections = number
    disk_limit_gb   = number
  })
  default = null

  validation {
    condition     = var.database == null || try(var.database.disk_limit_gb > 0 && var.database.max_connections > 0, false)
    error_message = "database: max_connections and disk_limit_gb are above 0."
  }
}

variable "jobs" {
  description = "Jobs whose failure is a ticket. Not those that people stop by hand."
  type        = set(string)
  default     = []
}

variable "signals" {
  description = "Alerts that are wanted, by name. Null: all. Each condition is billed by the month, whatever it covers, so a small fleet takes the few that matter most."
  type        = set(string)
  default     = null

  validation {
    condition = var.signals == null || length(setsubtract(coalesce(var.signals, []), [
      "UnackedMessageOld", "SubscriptionStalled", "MessagesNearExpiry", "DeadLettersArrive", "DeadLettersWait",
      "AckDeadlinesExpire", "PushFailing", "BusFreshnessBurnFast", "BusFreshnessBurnSlow",
      "DatabaseDiskNearLimit", "DatabaseConnectionsNearLimit", "DatabaseBusy", "TransactionIdsRunOut", "JobFailed",
    ])) == 0
    error_message = "signals has a name that is no alert of this module (platform.tf)."
  }
}

variable "logs" {
  description = "Alerts on what the fleet logs, by name, for where its metrics are not collected: ParkedEvents, ReadModelDiffers, ProjectionOutdated."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.logs, ["ParkedEvents", "ReadModelDiffers", "ProjectionOutdated"])) == 0
    error_message = "logs has a name that is no alert of logs.tf."
  }
}

variable "dashboards" {
  description = "Folder of the fleet's dashboards for Grafana (deploy/grafana/dashboards); each becomes one here, with the same queries. Null: none, for where the fleet's own metrics are not collected."
  type        = string
  default     = null
}

variable "rules_file" {
  description = "Prometheus rules of the fleet's own metrics (deploy/prometheus/alerts.yaml); each becomes an alert here. Null: none, for where no collector runs and they would be silent for want of data."
  type        = string
  default     = null
}

variable "unacked_seconds" {
  description = "Age of the oldest unacknowledged message that wakes somebody, when it lasts for unacked_minutes."
  type        = number
  default     = 300

  validation {
    condition     = var.unacked_seconds >= 60 && var.unacked_seconds <= 86400
    error_message = "unacked_seconds is from 60 to 86400; the platform measures once a minute."
  }
}

variable "unacked_minutes" {
  description = "How long it must last."
  type        = number
  default     = 5

  validation {
    condition     = var.unacked_minutes >= 1 && var.unacked_minutes <= 60
    error_message = "unacked_minutes is from 1 to 60."
  }
}

variable "slo" {
  description = "Objective of delivery: in this share of five-minute windows over days, the oldest unacknowledged message is on average younger than seconds. Null: no objective, and no alerts on its budget."
  type = object({
    goal    = optional(number, 0.99)
    seconds = optional(number, 60)
    days    = optional(number, 28)
  })
  default = null

  validation {
    condition     = var.slo == null || try(var.slo.goal >= 0.5 && var.slo.goal < 1 && var.slo.seconds >= 30 && var.slo.days >= 1 && var.slo.days <= 30, false)
    error_message = "slo: goal is from 0.5 to below 1, seconds at least 30, days 1 to 30."
  }
}

variable "labels" {
  description = "Labels of the alerts."
  type        = map(string)
  default     = {}
}
