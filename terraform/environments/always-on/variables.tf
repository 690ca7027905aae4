variable "project_id" {
  description = "Google Cloud project of the fleet, and of nothing else: internal ingress lets in whatever runs in the same project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "A project id has 6 to 30 lowercase letters, digits and hyphens. It is not the project's name or number."
  }
}

variable "region" {
  description = "Region of everything."
  type        = string
  default     = "europe-west1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region looks like europe-west1; europe-west1-b is a zone."
  }
}

variable "image" {
  description = "Image of the fleet, by digest. One for all roles, so that they are always of one version."
  type        = string
}

variable "previous_image" {
  description = "Image whose workers go on beside those of image: while projections whose VERSION image raises are built anew, and then for as long as the way back is open. By digest. Null: none, which is the rule."
  type        = string
  default     = null

  validation {
    condition     = var.previous_image == null || var.previous_image != var.image
    error_message = "previous_image is another than image: it is there for what image does not write to."
  }
}

variable "environment" {
  description = "Name of the environment, a label of everything: steady or large, or one of your own."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9_-]{0,62}$", var.environment))
    error_message = "A label has at most 63 lowercase letters, digits, hyphens and underscores, and starts with a letter here."
  }
}

variable "event_store_ingress" {
  description = "Where appends may come from: internal (networks of this project), or all, for command services that send through no network. IAM asks for a token either way."
  type        = string
  default     = "internal"
}

variable "appenders" {
  description = "Members that may append: the service accounts of the command services. Whoever also reads is named in event_readers as well. The worker that adopts is added by itself."
  type        = set(string)
  default     = []
}

variable "event_readers" {
  description = "Members that may read events and snapshots from the event store."
  type        = set(string)
  default     = []
}

variable "admin_access" {
  description = "How operators reach the admin API: internal, iam or iap."
  type        = string
  default     = "internal"
}

variable "viewers" {
  description = "Members that may look at everything in the admin API but payloads: serviceAccount:, user: or domain:."
  type        = set(string)
  default     = []
}

variable "operators" {
  description = "Members that may see, replay and redrive, and start jobs, such as user:ada@example.com. Not group:, because a token does not say in which groups of IAM its owner is."
  type        = set(string)
  default     = []
}

variable "payload_readers" {
  description = "Members that may see what events carry, too; each such look is recorded."
  type        = set(string)
  default     = []
}

variable "foreign_publishers" {
  description = "Members of other systems that publish to integration-events, the one topic that adopts what the store does not know."
  type        = set(string)
  default     = []
}

variable "allowed_persistence_regions" {
  description = "Regions in which messages may be stored. Empty: where Google sees fit."
  type        = set(string)
  default     = []
}

variable "billing_account" {
  description = "Billing account of the project, for the budget. Null: no budget, because the account is somebody else's."
  type        = string
  default     = null
}

variable "currency" {
  description = "Currency of the billing account."
  type        = string
  default     = "USD"
}

variable "runbooks" {
  description = "Where the runbooks are read, for the links in alerts: the address of docs/runbooks without a slash at its end."
  type        = string
}

variable "deletion_protection" {
  description = "Whether the database refuses to be deleted."
  type        = bool
  default     = true
}

variable "database_tier" {
  description = "Machine of the database. The whole fleet waits for it, so it is the first thing to enlarge."
  type        = string
}

variable "database_edition" {
  description = "ENTERPRISE or ENTERPRISE_PLUS; the tier must be of it."
  type        = string
  default     = "ENTERPRISE"
}

variable "database_availability" {
  description = "ZONAL, or REGIONAL with a standby in another zone."
  type        = string
}

variable "database_public_address" {
  description = "Whether the database has a public address, too, on which only Cloud SQL's connectors get in: for people who look into it from their desks."
  type        = bool
  default     = false

  # The connector may take the public address, and what a worker that adopts sends goes through the network, which has no way
  # out.
  validation {
    condition     = !var.database_public_address || var.event_store_ingress == "all" || !anytrue([for topic in values(local.topics) : topic.adopts_foreign_events])
    error_message = "A worker that adopts calls an internal event store through the network, from where it would not reach a public address of the database: with database_public_address, event_store_ingress is all."
  }
}

variable "readers" {
  description = "Who may read a read model besides the fleet: by projection, users of Postgres that exist, such as people who log in with IAM. The next apply grants it. What is no longer named here keeps what it has until somebody revokes it."
  type        = map(set(string))
  default     = {}

  validation {
    condition     = alltrue([for projection, users in var.readers : can(regex("^[a-z][a-z0-9_]*$", projection)) && alltrue([for user in users : can(regex("^[^,=\\s]+$", user))])])
    error_message = "readers is projection => users of Postgres, with no comma, equals sign or space in a name."
  }
}

variable "database_max_connections" {
  description = "Connections that the database takes. Null: by the memory of its machine."
  type        = number
  default     = null
}

variable "database_disk_gb" {
  description = "Size of the disk at the beginning."
  type        = number
}

variable "database_disk_limit_gb" {
  description = "Size up to which it grows by itself; an alert comes at four fifths of it."
  type        = number
}

variable "database_recovery_days" {
  description = "Days back to any moment of which the database can be recovered."
  type        = number
  default     = 7
}

variable "database_retained_backups" {
  description = "Daily backups that are kept."
  type        = number
}

variable "password_rotation" {
  description = "Raise it by one for a new password of the database."
  type        = number
  default     = 1
}

variable "event_store" {
  description = "Size of the event store. At least one instance, so that the relay is awake; two for availability; more would not be faster, because all appends pass one writer at a time."
  type = object({
    instances       = object({ min = number, max = number })
    cpu             = number
    memory          = string
    max_connections = number
  })

  validation {
    condition     = var.event_store.instances.min >= 1
    error_message = "Without an event store that is awake nothing is relayed, and alerts on the relay would ring all night: min is at least 1 here."
  }
}

variable "worker" {
  description = "Size of the worker of each topic. First a larger instance, then more of them: workers of one topic wait for each other's aggregates."
  type = object({
    instances       = object({ min = number, max = number })
    cpu             = number
    memory          = string
    max_connections = number
  })
}

variable "worker_exceptions" {
  description = "By the name of a topic, in what the size of its worker is another one."
  type = map(object({
    instances       = optional(object({ min = number, max = number }))
    cpu             = optional(number)
    memory          = optional(string)
    max_connections = optional(number)
  }))
  default = {}

  validation {
    condition     = length(setsubtract(keys(var.worker_exceptions), keys(local.topics))) == 0
    error_message = "worker_exceptions names a topic that is not in deploy/topics.json."
  }
}

variable "replay" {
  description = "Size of the job that does replays which take hours."
  type = object({
    cpu             = number
    memory          = string
    max_connections = number
  })
}

variable "build" {
  description = "Size of the job fleet-build, which builds a read model anew: how many tasks, and the size of each. Null: there is no such job, and workers build. It costs nothing while it does not run, but the database has to have its connections."
  type = object({
    tasks           = number
    cpu             = number
    memory          = string
    max_connections = number
  })
  default = null

  validation {
    condition     = var.build == null || try(var.build.max_connections >= 8, false)
    error_message = "A task that builds has 5 connections and half of max_connections, which is within max_connections from 8 on."
  }
}

variable "worker_shape" {
  description = "pool, or service where worker pools are not offered. Both pull."
  type        = string
  default     = "pool"

  validation {
    condition     = contains(["pool", "service"], var.worker_shape)
    error_message = "worker_shape is pool or service here; push is what the environment small does."
  }
}

variable "collector_image" {
  description = "Image of Google's OpenTelemetry collector. Null: the fleet's own metrics are not collected, and there are no alerts on them."
  type        = string
  default     = "us-docker.pkg.dev/cloud-ops-agents-artifacts/google-cloud-opentelemetry-collector/otelcol-google:0.138.0"
}

variable "deployers" {
  description = "Members that may run migrations: the pipeline that deploys."
  type        = set(string)
  default     = []
}

variable "notification_channels" {
  description = "Ids of the notification channels: page wakes somebody, ticket waits for the morning. Made by hand, so that nobody's address stands here."
  type = object({
    page   = optional(list(string), [])
    ticket = optional(list(string), [])
  })
  default = {}
}

variable "slo" {
  description = "Objective of delivery: the share of five-minute windows, over days, in which messages wait less than seconds. Null: none."
  type        = object({ goal = number, seconds = number, days = number })
}

variable "monthly_amount" {
  description = "What a month may cost before the budget tells."
  type        = number
}
