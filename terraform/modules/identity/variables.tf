variable "project_id" {
  description = "Project of the account, and of the roles it gets."
  type        = string
}

variable "name" {
  description = "Name of the account: the part of its email before the @."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.name))
    error_message = "An account name has 6 to 30 lowercase letters, digits and hyphens, and starts with a letter."
  }
}

variable "description" {
  description = "What runs as it, for whoever finds it in the console."
  type        = string
}

variable "roles" {
  description = "Roles on the project. Few: most grants are on the one topic, secret or service that they are for."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for role in var.roles : can(regex("^(roles/|projects/[^/]+/roles/|organizations/[^/]+/roles/)", role)) && !contains(["roles/owner", "roles/editor", "roles/viewer"], role)])
    error_message = "roles are full names, such as roles/monitoring.metricWriter, and not owner, editor or viewer: those are for everything in the project."
  }
}

variable "signed_by_pubsub" {
  description = "Whether Pub/Sub pushes as this account. Its service agent may then sign tokens of it, and of no other account."
  type        = bool
  default     = false
}
