variable "project_id" {
  description = "Project that it runs in."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "A project id has 6 to 30 lowercase letters, digits and hyphens. It is not the project's name or number."
  }
}

variable "region" {
  description = "Region that it runs in: the database's, because every event crosses between them."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region looks like europe-west1; europe-west1-b is a zone."
  }
}

variable "name" {
  description = "Name in Cloud Run, in logs and in metrics."
  type        = string
  default     = "fleet-event-store"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$", var.name))
    error_message = "A name in Cloud Run has at most 49 lowercase letters, digits and hyphens, and starts with a letter."
  }
}

variable "image" {
  description = "Image of the fleet. By digest, so that a rollout is a change in the plan and a rollback is the old digest."
  type        = string
}

variable "service_account_email" {
  description = "Service account that it runs as. Never the default one, which may do nearly everything in the project."
  type        = string

  validation {
    condition     = can(regex("^[^@]+@[^@]+\\.iam\\.gserviceaccount\\.com$", var.service_account_email))
    error_message = "service_account_email is the email of a service account made for it (NAME@PROJECT.iam.gserviceaccount.com)."
  }
}

variable "database" {
  description = "Where Postgres is, as the module database says in connections: the URL without a password, the secret that holds the password, and the Cloud SQL instance whose socket is mounted (null: the URL is reached as it is)."
  type = object({
    url              = string
    password_secret  = string
    password_version = optional(string, "latest")
    instance         = optional(string)
  })
}

variable "network" {
  description = "Network and subnetwork that it reaches private addresses through, such as the database's. Null: no way into any network."
  type = object({
    network    = string
    subnetwork = string
  })
  default = null
}

variable "cpu" {
  description = "vCPUs of an instance. Below 1 is not offered: Cloud Run then takes the CPU away between requests, and relay, sweep and replays stand still."
  type        = number
  default     = 1
}

variable "memory" {
  description = "Memory of an instance, such as 512Mi. What is exceeded is killed, and what was in hand comes again."
  type        = string
  default     = "512Mi"
}

variable "log" {
  description = "What is logged: a level, or a list such as info,workers=debug."
  type        = string
  default     = "info"
}

variable "labels" {
  description = "Labels, for cost reports and for finding everything that belongs together."
  type        = map(string)
  default     = {}
}

variable "max_connections" {
  description = "Connections to Postgres that an instance opens at most. Instances times this, twice during a rollout, must fit into the database: see its connection budget."
  type        = number
  default     = 12
}

variable "collector_image" {
  description = "Image of Google's OpenTelemetry collector, which then runs beside it and sends its metrics to Managed Prometheus and its spans to Cloud Trace. Null: metrics are served on /metrics and nobody collects them, and there are no spans."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete it. Off: there is no state in it, and the next apply makes it anew."
  type        = bool
  default     = false
}

variable "instances" {
  description = "Instances at least and at most. One at least keeps the relay awake; more answer more appends, but the database commits them one after the other."
  type = object({
    min = number
    max = number
  })
  default = { min = 1, max = 2 }

  validation {
    condition     = var.instances.min >= 0 && var.instances.max >= var.instances.min && var.instances.max >= 1 && var.instances.max <= 20
    error_message = "instances: min is 0 or more, max is at least min, at least 1 and at most 20."
  }
}

variable "concurrency" {
  description = "Requests that an instance answers at once. Concurrent appends share a commit, so many are better than few."
  type        = number
  default     = 500

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "concurrency is from 1 to 1000."
  }
}

variable "timeout_seconds" {
  description = "Seconds that a request may take. Long, because reading and importing are streams; Cloud Run ends them after an hour at the latest."
  type        = number
  default     = 3600

  validation {
    condition     = var.timeout_seconds >= 60 && var.timeout_seconds <= 3600
    error_message = "timeout_seconds is from 60 to 3600."
  }
}

variable "ingress" {
  description = "Where appends may come from. internal: networks of this project, and Cloud Run services that send into them. all: anywhere, for appenders without a network; IAM still asks each for its token."
  type        = string
  default     = "internal"

  validation {
    condition     = contains(["internal", "all"], var.ingress)
    error_message = "ingress is internal or all."
  }
}

variable "appenders" {
  description = "Members that may append events and save snapshots: the service accounts of the command services, and of workers that adopt. They do not read by that: whoever does both is a reader, too. Not group:, because a token does not say in which groups of IAM its owner is."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.appenders : can(regex("^(serviceAccount|user):[^:@]+@[^:@]+$", member))])
    error_message = "appenders are serviceAccount:EMAIL or user:EMAIL. Of group: a token says nothing, so that name emails; allUsers and domains are not named."
  }

  validation {
    condition     = length(var.appenders) + length(var.readers) > 0
    error_message = "An event store that nobody may call does not start: name appenders, or readers."
  }
}

variable "readers" {
  description = "Members that may read events and snapshots. They do not append by that."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.readers : can(regex("^(serviceAccount|user):[^:@]+@[^:@]+$", member))])
    error_message = "readers are serviceAccount:EMAIL or user:EMAIL. Of group: a token says nothing, so that name emails; allUsers and domains are not named."
  }
}
