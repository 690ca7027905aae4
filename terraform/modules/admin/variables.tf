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
  default     = "fleet-admin"

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

variable "instances" {
  description = "Instances at least and at most. One at least where alerts rest on lag, because nobody else measures it; one at most, because two measure the same."
  type = object({
    min = number
    max = number
  })
  default = { min = 1, max = 1 }

  validation {
    condition     = contains([0, 1], var.instances.min) && var.instances.max >= 1 && var.instances.max <= 3
    error_message = "instances: min is 0 or 1, max is 1 to 3."
  }
}

variable "concurrency" {
  description = "Requests that an instance answers at once."
  type        = number
  default     = 40

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "concurrency is from 1 to 1000."
  }
}

variable "timeout_seconds" {
  description = "Seconds that a request may take."
  type        = number
  default     = 60

  validation {
    condition     = var.timeout_seconds >= 10 && var.timeout_seconds <= 600
    error_message = "timeout_seconds is from 10 to 600."
  }
}

variable "access" {
  description = "How people reach it. internal: only from this project's networks, with a token. iam: from anywhere with a token, as gcloud run services proxy sends one. iap: from anywhere in a browser, behind Google's login. With internal and iam the program trusts Cloud Run's check of the token (FLEET_AUTH has cloud-run): whoever got to the container without it could write one, so this service never has invoker_iam_disabled or allUsers."
  type        = string
  default     = "internal"

  validation {
    condition     = contains(["internal", "iam", "iap"], var.access)
    error_message = "access is internal, iam or iap."
  }
}

variable "viewers" {
  description = "Members that may look at everything but payloads."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.viewers : can(regex("^((serviceAccount|user):[^:@]+@[^:@]+|domain:[^:@]+)$", member))])
    error_message = "viewers are serviceAccount:EMAIL, user:EMAIL or domain:NAME. Of group: a token says nothing: name emails, or a domain. allUsers is not named."
  }
}

variable "operators" {
  description = "Members that may look, and change: repair, rebuild, pause, discard. Not group:, because a token does not say in which groups of IAM its owner is."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^((serviceAccount|user):[^:@]+@[^:@]+|domain:[^:@]+)$", member))])
    error_message = "operators are serviceAccount:EMAIL, user:EMAIL or domain:NAME. Of group: a token says nothing: name emails, or a domain. allUsers is not named."
  }

  validation {
    condition     = length(var.viewers) + length(var.operators) + length(var.payload_readers) > 0
    error_message = "An admin API that nobody may call does not start: name operators, viewers or payload_readers."
  }
}

variable "payload_readers" {
  description = "Members that may look, also at what events carry; each such look is recorded. They change nothing by that."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.payload_readers : can(regex("^((serviceAccount|user):[^:@]+@[^:@]+|domain:[^:@]+)$", member))])
    error_message = "payload_readers are serviceAccount:EMAIL, user:EMAIL or domain:NAME. Of group: a token says nothing: name emails, or a domain. allUsers is not named."
  }
}
