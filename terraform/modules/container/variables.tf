variable "project_id" {
  description = "Project that it runs in."
  type        = string
}

variable "name" {
  description = "Name of the container within its instance."
  type        = string
}

variable "image" {
  description = "Image of the fleet. By digest, so that a rollout is a change in the plan and a rollback is the old digest."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.-]+(:[0-9]+)?/.+(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9._-]*)$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image is REGISTRY/PATH@sha256:DIGEST, or with a tag that does not move; :latest would change what runs without a plan."
  }
}

variable "args" {
  description = "Arguments of the binary: a role, such as [\"event-store\"]."
  type        = list(string)

  validation {
    # All that work on the database. The others ask a service of the fleet, which wants a token that they do not have.
    condition     = contains(["event-store", "worker", "build", "admin", "migrate"], try(var.args[0], ""))
    error_message = "args begins with a role of the fleet: event-store, worker, build, admin or migrate. Plain fleet would look for a Postgres in the container."
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

  validation {
    condition     = can(regex("^postgres(ql)?://[^:@/]+@", var.database.url))
    error_message = "database.url is postgres://USER@HOST/DATABASE with no password in it: what stands in a URL stands in the state, in the plan and in the console."
  }

  validation {
    condition     = var.database.instance == null || can(regex("^[^:]+:[^:]+:[^:]+$", var.database.instance))
    error_message = "database.instance is the connection name of an instance, PROJECT:REGION:NAME."
  }
}

variable "cpu" {
  description = "vCPUs of an instance. Below 1 is not offered: Cloud Run then takes the CPU away between requests, and relay, sweep and replays stand still."
  type        = number

  validation {
    condition     = contains([1, 2, 4, 6, 8], var.cpu)
    error_message = "cpu is 1, 2, 4, 6 or 8."
  }
}

variable "memory" {
  description = "Memory of an instance, such as 512Mi. What is exceeded is killed, and what was in hand comes again."
  type        = string

  validation {
    condition     = can(regex("^[1-9][0-9]*(Mi|Gi)$", var.memory))
    error_message = "memory is a number with Mi or Gi, such as 512Mi."
  }
  validation {
    condition     = try(tonumber(trimsuffix(var.memory, "Mi")) >= 512, endswith(var.memory, "Gi"))
    error_message = "Cloud Run wants at least 512Mi where the CPU is always there."
  }
}

variable "log" {
  description = "What is logged: a level, or a list such as info,workers=debug."
  type        = string
  default     = "info"

  validation {
    condition     = can(regex("^(([a-z_:]+=)?(off|error|warn|info|debug|trace))(,([a-z_:]+=)?(off|error|warn|info|debug|trace))*$", var.log))
    error_message = "log is a level (off, error, warn, info, debug, trace), or a comma-separated list of target=level."
  }
}

variable "max_connections" {
  description = "Connections to Postgres that its pools open at most. Null: it has no such setting, as migrations."
  type        = number
  default     = null

  validation {
    condition     = var.max_connections == null || try(var.max_connections >= 4 && var.max_connections <= 500 && floor(var.max_connections) == var.max_connections, false)
    error_message = "The fleet takes 4 to 500 connections."
  }
}

variable "max_outstanding_bytes" {
  description = "Bytes of unsettled messages that a worker holds at most. Null: three in thirty-two of its memory, which is 48 MiB of 512 MiB."
  type        = number
  default     = null

  validation {
    condition     = var.max_outstanding_bytes == null || try(var.max_outstanding_bytes >= 1048576 && var.max_outstanding_bytes <= 4294967296 && floor(var.max_outstanding_bytes) == var.max_outstanding_bytes, false)
    error_message = "max_outstanding_bytes is a whole number from 1048576 (1 MiB) to 4294967296 (4 GiB)."
  }
  validation {
    condition     = var.max_outstanding_bytes == null || try(var.max_outstanding_bytes <= local.memory_bytes / 8, false)
    error_message = "max_outstanding_bytes is more than an eighth of memory: messages are held more than once on their way into the tables, and one more of 10 MB may come with each pull."
  }
}

variable "environment" {
  description = "Settings besides those that every container has: database, log, project. Never a secret: they stand in the state."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.environment) : can(regex("^FLEET_[A-Z_]+$", name))])
    error_message = "environment has the fleet's own settings only (FLEET_…); the others are given by this module."
  }
}

variable "http_port" {
  description = "Where it answers probes and whoever calls it. Null: it is a run that ends, and is not probed."
  type        = number
  default     = null
}

variable "serves" {
  description = "Where Cloud Run sends requests: the protocol (http1, or h2c for gRPC) and the port. Null: nowhere."
  type = object({
    name           = string
    container_port = number
  })
  default = null
}

variable "auth" {
  description = "How whoever calls it shows who it is, as FLEET_AUTH takes it: iap:AUDIENCE behind Identity-Aware Proxy; where Cloud Run checks every token before, cloud-run for a token of which it has taken the signature away, and google:AUDIENCE for one that came besides and still has it. cloud-run trusts whoever gets to the container without that check, so it is never for a service with invoker_iam_disabled or allUsers. Null: it has nothing that anybody calls."
  type        = string
  default     = null

  validation {
    condition     = var.auth == null || can(regex("^(cloud-run,google:https://[a-z0-9.-]+|iap:/projects/[0-9]+/locations/[a-z0-9-]+/services/[a-z0-9-]+)$", var.auth))
    error_message = "auth is cloud-run,google:https://AUDIENCE, or iap:/projects/NUMBER/locations/REGION/services/NAME."
  }

  validation {
    condition     = (var.auth != null) == contains(["admin", "event-store"], try(var.args[0], ""))
    error_message = "admin and event-store ask whoever calls them, and do not start without auth; nothing else is called."
  }
}

variable "roles" {
  description = "Who has which role with auth: members of IAM, by viewer, operator and payload-reader of an admin, appender and reader of an event store."
  type        = map(set(string))
  default     = {}

  validation {
    condition     = alltrue([for role in keys(var.roles) : contains(["viewer", "operator", "payload-reader", "appender", "reader"], role)])
    error_message = "roles are viewer, operator, payload-reader, appender and reader."
  }

  validation {
    condition     = alltrue([for member in flatten([for members in values(var.roles) : tolist(members)]) : can(regex("^((serviceAccount|user):[^:@]+@[^:@]+|domain:[^:@]+)$", member))])
    error_message = "A role is given to serviceAccount:EMAIL, user:EMAIL or domain:NAME. A token says nothing of the groups of IAM that its owner is in, so group: would let nobody in: name emails, or a domain."
  }

  validation {
    condition     = (var.auth != null) == (sum(concat([0], [for members in values(var.roles) : length(members)])) > 0)
    error_message = "With auth somebody has a role, because the fleet does not start for nobody; without auth nobody asks for one."
  }
}

variable "event_store" {
  description = "The event store that it appends to: its URL on Cloud Run, the audience of tokens for it, and whether only the network leads there. Null: it appends to none."
  type = object({
    uri      = string
    audience = string
    internal = bool
  })
  default = null

  validation {
    condition     = var.event_store == null || try(startswith(var.event_store.uri, "https://"), false)
    error_message = "event_store.uri begins with https://, because a token must not travel in the clear."
  }
}

variable "traced" {
  description = "Whether a collector runs beside it, to which it sends its spans."
  type        = bool
  default     = false
}
