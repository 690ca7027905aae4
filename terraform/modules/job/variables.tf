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
  # None: it says what the job does, such as fleet-migrate.

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

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete it. Off: there is no state in it, and the next apply makes it anew."
  type        = bool
  default     = false
}

variable "args" {
  description = "Arguments of the binary, such as [\"migrate\"]. An execution may give others."
  type        = list(string)
}

variable "max_connections" {
  description = "Connections to Postgres that the pools of a task open at most. Null: the command has no such setting, as migrate, whose pool has two."
  type        = number
  default     = null
}

variable "environment" {
  description = "Settings besides those that every run has: database, log, project. Never a secret: they stand in the state."
  type        = map(string)
  default     = {}
}

variable "timeout_seconds" {
  description = "Seconds that one attempt may take. Cloud Run allows a week."
  type        = number
  default     = 3600

  validation {
    condition     = var.timeout_seconds >= 60 && var.timeout_seconds <= 604800
    error_message = "timeout_seconds is from 60 to 604800, a week."
  }
}

variable "max_retries" {
  description = "Attempts after the first one. Both migrations and replays may be tried again: they go on where they were."
  type        = number
  default     = 1

  validation {
    condition     = var.max_retries >= 0 && var.max_retries <= 10
    error_message = "max_retries is from 0 to 10."
  }
}

variable "tasks" {
  description = "Tasks of an execution, which run all at once: more than one for the parts of a rebuild. Everything else is one task."
  type        = number
  default     = 1

  validation {
    condition     = var.tasks >= 1 && var.tasks <= 100 && (var.tasks == 1 || try(var.args[0], "") == "build")
    error_message = "tasks is from 1 to 100, and more than 1 only with args = [\"build\"]: nothing else is shared by tasks."
  }
}

variable "run" {
  description = "Whether an apply that makes the job, or gives it another image, database or environment, runs it by gcloud and waits until it has succeeded. For what must be done before anything else gets that image: let the others take it from the output image."
  type        = bool
  default     = false
}

variable "runners" {
  description = "Members that may start it, with settings of their own, and see what becomes of it: the pipeline that deploys, and who is on call."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.runners : can(regex("^(serviceAccount|group|user|domain|principal|principalSet):.+$", member))])
    error_message = "runners are named members, such as group:on-call@example.com; allUsers is not."
  }
}
