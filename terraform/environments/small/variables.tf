variable "project_id" {
  description = "Google Cloud project of the fleet."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "A project id has 6 to 30 lowercase letters, digits and hyphens. It is not the project's name or number."
  }
}

variable "event_store" {
  description = "Member as which the event store runs, such as serviceAccount:event-store@PROJECT.iam.gserviceaccount.com: it publishes to every topic."
  type        = string
}

variable "workers" {
  description = "Member as which the workers run: it reads every subscription."
  type        = string
}

variable "foreign_publishers" {
  description = "Members of other systems that publish to integration-events, the one topic that adopts what the store does not know."
  type        = set(string)
  default     = []
}

variable "push" {
  description = "Topics whose messages are pushed, and where to; the workers of the others pull."
  type = map(object({
    endpoint              = string
    service_account_email = string
    audience              = string
  }))
  default = {}

  validation {
    condition     = alltrue([for topic in keys(var.push) : contains(["vocabulary-events", "progress-events", "integration-events"], topic)])
    error_message = "push has a topic that does not exist."
  }
}

variable "allowed_persistence_regions" {
  description = "Regions in which messages may be stored. Empty: where Google sees fit."
  type        = set(string)
  default     = []
}
