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
  # None: it names the topic, such as fleet-worker-progress.

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
  default     = 4
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

variable "shape" {
  description = "push: a service that scales to zero and takes what the subscription pushes. pool: a worker pool that pulls. service: an always-on service that pulls, for where worker pools are not offered."
  type        = string

  validation {
    condition     = contains(["push", "pool", "service"], var.shape)
    error_message = "shape is push, pool or service."
  }
}

variable "topic" {
  description = "Topic whose events it applies; the fleet knows its subscription and its projections by this name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,254}$", var.topic))
    error_message = "topic is the name of a topic of the fleet (deploy/topics.json), without its project."
  }
}

variable "event_store" {
  description = "For a topic that adopts events of other systems: the event store that its worker appends them to, the audience of tokens for it, and whether only the network leads there. It must have the worker's account among its appenders. Null: the topic adopts nothing."
  type = object({
    uri      = string
    audience = string
    internal = bool
  })
  default = null

  validation {
    condition     = !try(var.event_store.internal, false) || var.network != null
    error_message = "Only the network leads to an internal event store: the worker needs network."
  }
}

variable "push" {
  description = "For the shape push: the audience that tokens must have, and the service account they must be of. The subscription states the same two."
  type = object({
    audience              = string
    service_account_email = string
  })
  default = null

  validation {
    condition     = (var.shape == "push") == (var.push != null)
    error_message = "push is for the shape push, and that shape needs it: without it anybody could push."
  }

  validation {
    condition     = var.push == null || try(length(var.push.audience) > 0 && can(regex("^[^@]+@[^@]+\\.gserviceaccount\\.com$", var.push.service_account_email)), false)
    error_message = "push.audience is not empty, and push.service_account_email is the email of a service account."
  }
}

variable "instances" {
  description = "Instances at least and at most. Workers of one topic race for the same aggregates, so a few large ones do more than many small ones. A service follows its requests, and a pool with room between the two its CPU."
  type = object({
    min = number
    max = number
  })
  default = { min = 1, max = 1 }

  validation {
    condition     = var.instances.min >= 0 && var.instances.max >= var.instances.min && var.instances.max >= 1 && var.instances.max <= 100
    error_message = "instances: min is 0 or more, max is at least min, at least 1 and at most 100."
  }

  validation {
    condition     = var.shape == "push" || var.instances.min >= 1
    error_message = "A worker that pulls needs at least one instance: nothing would ever wake it."
  }
}

variable "concurrency" {
  description = "Pushes that an instance takes at once. They are applied as one batch, so many are cheap."
  type        = number
  default     = 80

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "concurrency is from 1 to 1000."
  }
}

variable "timeout_seconds" {
  description = "Seconds that a request may take. Not less than the subscription's ack deadline, after which Pub/Sub gives a push up anyway."
  type        = number
  default     = 60

  validation {
    condition     = var.timeout_seconds >= 10 && var.timeout_seconds <= 600
    error_message = "timeout_seconds is from 10 to 600, like the ack deadline."
  }
}

variable "cpu_idle" {
  description = "For the shape push: whether only the time of pushes is paid for, and the CPU is taken away between them. Much cheaper where events trickle all day; sweep, replays and taking back dead letters then stand still between pushes."
  type        = bool
  default     = false

  validation {
    condition     = !var.cpu_idle || var.shape == "push"
    error_message = "Whoever pulls works between requests, too: cpu_idle is for the shape push."
  }

  validation {
    condition     = !var.cpu_idle || var.event_store == null
    error_message = "An adopting worker renews the token that it shows to the event store between pushes, when it would have no CPU: cpu_idle and event_store do not go together."
  }
}

variable "wake" {
  description = "For the shape push: when an instance is woken although nothing was pushed, as a cron schedule in UTC, so that it sweeps what the bus lost. Null: never."
  type        = string
  default     = null

  validation {
    condition     = var.wake == null || can(regex("^(\\S+ ){4}\\S+$", var.wake))
    error_message = "wake is a cron schedule of five fields, such as 0 4 * * *."
  }

  validation {
    condition     = var.wake == null || var.shape == "push" && !var.cpu_idle
    error_message = "wake is for the shape push, whose CPU must stay to sweep after the request that wakes it; the other shapes are always awake."
  }
}

variable "streams" {
  description = "Pulls side by side. The real service needs 1 to 4."
  type        = number
  default     = 2

  validation {
    condition     = var.streams >= 1 && var.streams <= 64 && floor(var.streams) == var.streams
    error_message = "streams is a whole number from 1 to 64."
  }
}

variable "max_outstanding" {
  description = "Unsettled messages of each pull at most: what comes again when an instance is killed. What it has in memory, max_outstanding_bytes bounds."
  type        = number
  default     = 2000

  validation {
    condition     = var.max_outstanding >= 1 && var.max_outstanding <= 100000 && floor(var.max_outstanding) == var.max_outstanding
    error_message = "max_outstanding is a whole number from 1 to 100000."
  }
}

variable "max_outstanding_bytes" {
  description = "Bytes of unsettled messages of all pulls or pushes at most: not more than an eighth of memory. Null: three in thirty-two of it, which is 48 MiB of 512 MiB."
  type        = number
  default     = null
}

variable "sweep_grace_seconds" {
  description = "Seconds that the bus has to deliver an event before the sweep takes it from the store."
  type        = number
  default     = 10

  validation {
    condition     = var.sweep_grace_seconds >= 0 && var.sweep_grace_seconds <= 86400
    error_message = "sweep_grace_seconds is from 0 to 86400."
  }
}
