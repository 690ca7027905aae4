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

variable "database_tier" {
  description = "Machine of the database. A shared core is enough for a small team, and has no SLA."
  type        = string
  default     = "db-g1-small"
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
  description = "Connections that the database takes. More than Cloud SQL's 50 for this machine: the fleet's connections are few and mostly idle, but its smallest pools and what watches beside them are 26, twice during a rollout, and 15 more with a previous image."
  type        = number
  default     = 110
}

variable "event_store_instances" {
  description = "Instances of the event store at least and at most. Min 1 keeps the relay awake: see what that costs in the README."
  type        = object({ min = number, max = number })
  default     = { min = 0, max = 1 }
}

variable "worker_instances" {
  description = "Instances of each worker at least and at most."
  type        = object({ min = number, max = number })
  default     = { min = 0, max = 1 }
}

variable "worker_cpu_idle" {
  description = "Whether workers are paid for during pushes only. Cheaper where events trickle all day; they then sweep only while something is pushed. The worker that adopts keeps its CPU."
  type        = bool
  default     = false
}

variable "wake" {
  description = "When workers are woken to sweep what the bus lost, as a cron schedule in UTC. Each time costs each worker about a quarter of an hour. Null: never."
  type        = string
  default     = "0 4 * * *"
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

variable "notification_channels" {
  description = "Ids of the notification channels that alerts and the budget tell. Made by hand, so that nobody's address stands here."
  type        = list(string)
  default     = []
}

variable "billing_account" {
  description = "Billing account of the project, for the budget. Null: no budget, because the account is somebody else's."
  type        = string
  default     = null
}

variable "monthly_amount" {
  description = "What a month may cost before the budget tells."
  type        = number
  default     = 60
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
