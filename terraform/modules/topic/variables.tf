variable "project_id" {
  description = "Project of the topic and of everything beside it."
  type        = string
}

variable "name" {
  description = "Name of the topic, such as progress-events."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.name)) && !startswith(lower(var.name), "goog")
    error_message = "A topic name has 3 to 255 characters, starts with a letter and not with goog, and has only letters, digits and -._~+%."
  }
}

variable "subscription" {
  description = "Name of the subscription that the topic's workers read."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.subscription)) && !startswith(lower(var.subscription), "goog")
    error_message = "A subscription name has 3 to 255 characters, starts with a letter and not with goog, and has only letters, digits and -._~+%."
  }
}

variable "dead_letter" {
  description = "Name of the topic that receives what the broker could not deliver, and of the subscription that keeps it."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.dead_letter)) && !startswith(lower(var.dead_letter), "goog")
    error_message = "A name for dead letters has 3 to 255 characters, starts with a letter and not with goog, and has only letters, digits and -._~+%."
  }
}

variable "retention_days" {
  description = "Days that topic and subscription keep messages: how long workers may be away before only the sweep has what they missed."
  type        = number

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 31 && floor(var.retention_days) == var.retention_days
    error_message = "Pub/Sub keeps messages 31 days at most: retention_days is a whole number from 1 to 31."
  }
}

variable "ack_deadline_seconds" {
  description = "Seconds a worker has to acknowledge a message; for push, also the timeout of the request."
  type        = number

  validation {
    condition     = var.ack_deadline_seconds >= 10 && var.ack_deadline_seconds <= 600
    error_message = "ack_deadline_seconds is from 10 to 600."
  }
}

variable "minimum_backoff_seconds" {
  description = "Shortest wait before a redelivery."
  type        = number

  validation {
    condition     = var.minimum_backoff_seconds >= 0 && var.minimum_backoff_seconds <= 600
    error_message = "minimum_backoff_seconds is from 0 to 600."
  }
}

variable "maximum_backoff_seconds" {
  description = "Longest wait before a redelivery."
  type        = number

  validation {
    condition     = var.maximum_backoff_seconds <= 600 && var.maximum_backoff_seconds >= var.minimum_backoff_seconds
    error_message = "maximum_backoff_seconds is at most 600 and not less than minimum_backoff_seconds."
  }
}

variable "max_delivery_attempts" {
  description = "Deliveries after which the broker gives a message to the dead-letter topic. High, because the workers park poison themselves: only what no worker could even answer for gets there, and an outage must not send a healthy backlog after it."
  type        = number

  validation {
    condition     = var.max_delivery_attempts >= 5 && var.max_delivery_attempts <= 100
    error_message = "max_delivery_attempts is from 5 to 100."
  }
}

variable "dead_letter_retention_days" {
  description = "Days that dead letters are kept for a person to look at."
  type        = number

  validation {
    condition     = var.dead_letter_retention_days >= 1 && var.dead_letter_retention_days <= 31 && floor(var.dead_letter_retention_days) == var.dead_letter_retention_days
    error_message = "dead_letter_retention_days is a whole number from 1 to 31."
  }
}

variable "push" {
  description = "Deliver by HTTP POST to this endpoint, with a token of this service account for this audience. Null: workers pull."
  type = object({
    endpoint              = string
    service_account_email = string
    # Stated, because Pub/Sub's default is the endpoint, and then a token breaks when the URL changes.
    audience = string
  })
  default = null

  validation {
    condition     = var.push == null || can(regex("^https://", var.push.endpoint))
    error_message = "push.endpoint starts with https://, because the token must not travel in the clear."
  }

  validation {
    condition     = var.push == null || can(regex("^[^@]+@[^@]+\\.gserviceaccount\\.com$", var.push.service_account_email))
    error_message = "push.service_account_email is the email of a service account."
  }

  validation {
    condition     = try(length(var.push.audience) > 0, var.push == null)
    error_message = "push.audience is what the worker expects in FLEET_PUSH_AUDIENCE, and not empty."
  }
}

variable "publishers" {
  description = "Members that may publish to the topic: the event store's service account, and other systems where the topic adopts their events."
  type        = set(string)
  default     = []

  validation {
    condition     = !anytrue([for member in var.publishers : contains(["allUsers", "allAuthenticatedUsers"], member)])
    error_message = "Anybody could publish."
  }
}

variable "subscribers" {
  description = "Members that may read the subscription and its dead letters: the workers' service account."
  type        = set(string)
  default     = []

  validation {
    condition     = !anytrue([for member in var.subscribers : contains(["allUsers", "allAuthenticatedUsers"], member)])
    error_message = "Anybody could read."
  }
}

variable "allowed_persistence_regions" {
  description = "Regions in which messages may be stored. Empty: where Google sees fit."
  type        = set(string)
  default     = []
}

variable "labels" {
  description = "Labels of topics and subscriptions."
  type        = map(string)
  default     = {}
}
