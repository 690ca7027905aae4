variable "project_id" {
  description = "Project of the instance."
  type        = string
}

variable "region" {
  description = "Region of the instance, and of everything that talks to it."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region looks like europe-west1; europe-west1-b is a zone."
  }
}

variable "name" {
  description = "Name of the instance. After it is deleted, Cloud SQL does not give the name to another for a week."
  type        = string
  default     = "fleet"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,80}$", var.name))
    error_message = "An instance name has at most 81 lowercase letters, digits and hyphens, and starts with a letter."
  }
}

variable "network_id" {
  description = "Network in which the instance gets its one, private address; the module network makes it and its peering."
  type        = string
}

variable "public_address" {
  description = "Whether the instance has a public address besides the private one, so that people reach it from their desks through the Auth Proxy. Only Cloud SQL's connectors get in on it, and IAM is asked first; there are no authorized networks."
  type        = bool
  default     = false
}

variable "tier" {
  description = "Machine. db-f1-micro and db-g1-small share a core and have no SLA; db-custom-CPUS-MEGABYTES and db-perf-optimized-N-CPUS have their own."
  type        = string
  default     = "db-custom-2-7680"

  validation {
    condition     = can(regex("^db-(f1-micro|g1-small|custom-[0-9]+-[0-9]+|perf-optimized-N-[0-9]+)$", var.tier))
    error_message = "tier is db-f1-micro, db-g1-small, db-custom-CPUS-MEGABYTES or db-perf-optimized-N-CPUS."
  }
}

variable "edition" {
  description = "ENTERPRISE, or ENTERPRISE_PLUS for less downtime in maintenance and up to 35 days of point-in-time recovery. Always stated: unset, Google takes ENTERPRISE_PLUS for Postgres 16, which has no small machines."
  type        = string
  default     = "ENTERPRISE"

  validation {
    condition     = contains(["ENTERPRISE", "ENTERPRISE_PLUS"], var.edition)
    error_message = "edition is ENTERPRISE or ENTERPRISE_PLUS."
  }

  validation {
    condition     = (var.edition == "ENTERPRISE_PLUS") == startswith(var.tier, "db-perf-optimized-")
    error_message = "ENTERPRISE_PLUS has the machines db-perf-optimized-N-CPUS and no others, and ENTERPRISE has all the others."
  }
}

variable "availability" {
  description = "ZONAL, or REGIONAL: a standby in another zone that takes over within a minute, for twice the price."
  type        = string
  default     = "ZONAL"

  validation {
    condition     = contains(["ZONAL", "REGIONAL"], var.availability)
    error_message = "availability is ZONAL or REGIONAL."
  }

  validation {
    condition     = var.availability == "ZONAL" || !contains(["db-f1-micro", "db-g1-small"], var.tier)
    error_message = "A standby of a shared core would pay for an SLA that the machine does not have: take db-custom-…"
  }
}

variable "disk_gb" {
  description = "Size of the disk at the beginning. It grows by itself and never shrinks; more gigabytes are also more operations a second."
  type        = number
  default     = 20

  validation {
    condition     = var.disk_gb >= 10 && var.disk_gb <= 65536
    error_message = "disk_gb is from 10 to 65536."
  }
}

variable "disk_limit_gb" {
  description = "Size up to which the disk grows by itself. A full disk stops every append, so this is a brake on cost, and an alert comes long before."
  type        = number
  default     = 500

  validation {
    condition     = var.disk_limit_gb == 0 || var.disk_limit_gb >= var.disk_gb
    error_message = "disk_limit_gb is not less than disk_gb; 0 is no limit."
  }
}

variable "max_connections" {
  description = "Connections that the instance takes. Null: by the memory of the machine, 25 to 800. It is written down either way, so that the number in the plan is the number in force; a change restarts the instance."
  type        = number
  default     = null

  validation {
    condition     = var.max_connections == null || try(var.max_connections >= 14 && var.max_connections <= 4000, false)
    error_message = "max_connections is from 14 to 4000."
  }
}

variable "flags" {
  description = "Further flags of Postgres."
  type        = map(string)
  default     = {}

  validation {
    condition = length(setintersection(keys(var.flags), [
      "max_connections", "cloudsql.iam_authentication", "log_checkpoints", "log_connections", "log_disconnections",
      "log_lock_waits", "log_temp_files", "log_statement", "log_min_error_statement",
    ])) == 0
    error_message = "flags has one that this module sets itself. max_connections has a variable of its own, because the connection budget rests on it."
  }
}

variable "users" {
  description = "Users of Postgres, by name, and the service accounts that may connect as each. Every user has a password of its own, made here and kept in Secret Manager."
  type        = map(set(string))

  validation {
    condition     = length(var.users) > 0 && alltrue([for name in keys(var.users) : can(regex("^[a-z][a-z0-9_]{0,62}$", name)) && !contains(["postgres", "cloudsqladmin", "cloudsqlsuperuser"], name)])
    error_message = "A user name has lowercase letters, digits and underscores, starts with a letter, and is none of Cloud SQL's own."
  }
}

variable "password_rotation" {
  description = "Raise it by one for new passwords. Instances that run keep their connections, new ones take the new password; between the two steps of an apply, new connections fail for seconds and are tried again."
  type        = number
  default     = 1

  validation {
    condition     = var.password_rotation >= 1 && floor(var.password_rotation) == var.password_rotation
    error_message = "password_rotation is a whole number from 1."
  }
}

variable "backup_hour" {
  description = "Hour of the daily backup, in UTC: the quietest one."
  type        = number
  default     = 2

  validation {
    condition     = var.backup_hour >= 0 && var.backup_hour <= 23 && floor(var.backup_hour) == var.backup_hour
    error_message = "backup_hour is a whole number from 0 to 23."
  }
}

variable "retained_backups" {
  description = "Daily backups that are kept. The store is the one thing that cannot be rebuilt from anything else."
  type        = number
  default     = 14

  validation {
    condition     = var.retained_backups >= 7 && var.retained_backups <= 365
    error_message = "retained_backups is from 7 to 365."
  }
}

variable "recovery_days" {
  description = "Days back to any moment of which the database can be recovered."
  type        = number
  default     = 7

  validation {
    condition     = var.recovery_days >= 1 && var.recovery_days <= (var.edition == "ENTERPRISE_PLUS" ? 35 : 7)
    error_message = "recovery_days is from 1 to 7, or to 35 with ENTERPRISE_PLUS."
  }

  validation {
    condition     = var.recovery_days <= var.retained_backups
    error_message = "Recovery begins at a backup: keep at least as many backups as recovery_days."
  }
}

variable "maintenance" {
  description = "When Google may restart the instance: day of the week (1 is Monday), hour in UTC."
  type = object({
    day  = number
    hour = number
  })
  default = { day = 2, hour = 3 }

  validation {
    condition     = var.maintenance.day >= 1 && var.maintenance.day <= 7 && var.maintenance.hour >= 0 && var.maintenance.hour <= 23
    error_message = "maintenance: day is 1 to 7, hour is 0 to 23."
  }
}

variable "deletion_protection" {
  description = "Whether neither Terraform nor the console can delete the instance. To delete it on purpose: one apply with false, then another that destroys."
  type        = bool
  default     = true
}

variable "demand" {
  description = "Who opens how many connections: of each service or pool, the instances at most and the connections of each. Doubled, because old and new instances overlap during a rollout."
  type = map(object({
    instances   = number
    connections = number
  }))
  default = {}

  validation {
    condition     = alltrue([for part in values(var.demand) : part.instances >= 1 && part.connections >= 1])
    error_message = "Every part of demand has at least one instance and one connection."
  }
}

variable "job_connections" {
  description = "Connections of all jobs that may run at the same time."
  type        = number
  default     = 0

  validation {
    condition     = var.job_connections >= 0
    error_message = "job_connections is not negative."
  }
}

variable "reserved_connections" {
  description = "Connections kept for Cloud SQL itself, and for a person who looks what is wrong."
  type        = number
  default     = 10

  validation {
    condition     = var.reserved_connections >= 5
    error_message = "reserved_connections is at least 5: Postgres keeps 3 for superusers, and Cloud SQL is one."
  }
}

variable "labels" {
  description = "Labels of instance and secrets."
  type        = map(string)
  default     = {}
}
