# The fleet of a small team: everything scales to zero but the database.
#
# One account runs every role but the migrations, and so it may read the passwords of all users of Postgres but the owner's:
# a role that is taken over may do here what any role may. The always-on environments have an account for each role.

locals {
  labels = { app = "fleet", environment = "small" }

  # What the program says of its topics; a test compares the two.
  topics = { for topic in jsondecode(file("${path.module}/../../../deploy/topics.json")) : topic.name => topic }

  # Users of Postgres (ADR 0036). The owner of everything is what migrations log in as, and nothing else; what each of the
  # others may do is its duty, which migrations grant it.
  owner        = "fleet"
  worker_users = { for name in keys(local.topics) : name => "fleet_worker_${replace(trimsuffix(name, "-events"), "-", "_")}" }
  # Of both jobs, for all topics: the environment of an execution may be another one, and so its topic or projection, but not
  # its secret. A user for each topic would take as many jobs as there are topics, for what only runs when a person starts it.
  job_user = "fleet_job"
  # Each, and the accounts that may read its password.
  users = merge(
    { (local.owner) = [module.migrate_identity.email] },
    { for user in concat(["fleet_event_store", "fleet_admin", local.job_user], values(local.worker_users)) : user => [module.identity.email] },
  )
  grants = concat(
    [for duty in ["append", "relay", "prune"] : "${duty}=fleet_event_store"],
    ["admin=fleet_admin"],
    flatten([for topic, user in local.worker_users : ["worker:${topic}=${user}", "worker:${topic}=${local.job_user}"]]),
    flatten([for projection, users in var.readers : [for user in users : "reader:${projection}=${user}"]]),
  )

  # How a worker that adopts gets to the event store, and as whom.
  adopters    = anytrue([for topic in values(local.topics) : topic.adopts_foreign_events]) ? toset([module.identity.member]) : toset([])
  event_store = { uri = module.event_store.uri, audience = module.event_store.audience, internal = var.event_store_ingress == "internal" }

  disk_limit_gb = 100
}

data "google_project" "this" {
  project_id = var.project_id
}

module "identity" {
  source = "../../modules/identity"

  project_id  = var.project_id
  name        = "fleet-run"
  description = "Runs every role of the fleet, and no migrations."
}

module "migrate_identity" {
  source = "../../modules/identity"

  project_id  = var.project_id
  name        = "fleet-migrate"
  description = "Runs migrations, as the owner of everything in the database."
}

module "push_identity" {
  source = "../../modules/identity"

  project_id       = var.project_id
  name             = "fleet-push"
  description      = "Pub/Sub pushes as this account; workers take pushes of no other."
  signed_by_pubsub = true
}

module "network" {
  source = "../../modules/network"

  project_id = var.project_id
  region     = var.region
}

module "database" {
  source = "../../modules/database"

  project_id          = var.project_id
  region              = var.region
  network_id          = module.network.id
  public_address      = var.database_public_address
  tier                = var.database_tier
  max_connections     = var.database_max_connections
  disk_gb             = 10
  disk_limit_gb       = local.disk_limit_gb
  deletion_protection = var.deletion_protection
  labels              = local.labels

  users = local.users
  demand = merge(
    {
      event-store = { instances = var.event_store_instances.max, connections = module.event_store.connections }
      admin       = { instances = 1, connections = module.admin.connections }
    },
    { for name, worker in module.worker : name => { instances = var.worker_instances.max, connections = worker.connections } },
  )
  # A migration beside a replay and a rebuild. The previous image is never rolled out, so that its workers are counted once.
  job_connections = sum(concat(
    [module.migrate.connections, module.replay.connections],
    module.build[*].connections,
    values(module.previous_worker)[*].connections,
  ))
}

module "event_store" {
  source = "../../modules/event-store"

  project_id            = var.project_id
  region                = var.region
  image                 = module.migrate.image
  service_account_email = module.identity.email
  database              = module.database.connections["fleet_event_store"]
  network               = module.network.egress
  instances             = var.event_store_instances
  max_connections       = 4
  ingress               = var.event_store_ingress
  appenders             = setunion(var.appenders, local.adopters)
  readers               = var.event_readers
  labels                = local.labels
}

module "worker" {
  source   = "../../modules/worker"
  for_each = local.topics

  project_id            = var.project_id
  region                = var.region
  name                  = "fleet-worker-${trimsuffix(each.key, "-events")}"
  image                 = module.migrate.image
  service_account_email = module.identity.email
  database              = module.database.connections[local.worker_users[each.key]]
  network               = module.network.egress
  shape                 = "push"
  topic                 = each.key
  event_store           = each.value.adopts_foreign_events ? local.event_store : null
  timeout_seconds       = each.value.ack_deadline_seconds
  instances             = var.worker_instances
  cpu_idle              = var.worker_cpu_idle && !each.value.adopts_foreign_events
  # Whoever has no CPU between pushes would be woken for nothing.
  wake   = var.worker_cpu_idle && !each.value.adopts_foreign_events ? null : var.wake
  labels = local.labels

  push = {
    audience              = "fleet-${each.key}"
    service_account_email = module.push_identity.email
  }
}

# The code that built what is read goes on writing it until what image builds is promoted, and keeps the way back afterwards
# (ADR 0027). Nobody pushes to it, so that it must be awake: it takes from the store what the other does not write to.
module "previous_worker" {
  source   = "../../modules/worker"
  for_each = var.previous_image == null ? {} : local.topics

  project_id            = var.project_id
  region                = var.region
  name                  = "fleet-worker-${trimsuffix(each.key, "-events")}-previous"
  image                 = var.previous_image
  service_account_email = module.identity.email
  database              = module.database.connections[local.worker_users[each.key]]
  network               = module.network.egress
  shape                 = "push"
  topic                 = each.key
  event_store           = each.value.adopts_foreign_events ? local.event_store : null
  timeout_seconds       = each.value.ack_deadline_seconds
  instances             = { min = 1, max = 1 }
  labels                = local.labels

  push = {
    audience              = "fleet-${each.key}"
    service_account_email = module.push_identity.email
  }
}

module "topic" {
  source   = "../../modules/topic"
  for_each = local.topics

  project_id                  = var.project_id
  name                        = each.key
  subscription                = each.value.subscription
  dead_letter                 = each.value.dead_letter
  retention_days              = each.value.retention_days
  dead_letter_retention_days  = each.value.dead_letter_retention_days
  ack_deadline_seconds        = each.value.ack_deadline_seconds
  minimum_backoff_seconds     = each.value.minimum_backoff_seconds
  maximum_backoff_seconds     = each.value.maximum_backoff_seconds
  max_delivery_attempts       = each.value.max_delivery_attempts
  publishers                  = setunion([module.identity.member], each.value.adopts_foreign_events ? var.foreign_publishers : [])
  subscribers                 = [module.identity.member]
  push                        = module.worker[each.key].push
  allowed_persistence_regions = var.allowed_persistence_regions
  labels                      = local.labels
}

module "admin" {
  source = "../../modules/admin"

  project_id            = var.project_id
  region                = var.region
  image                 = module.migrate.image
  service_account_email = module.identity.email
  database              = module.database.connections["fleet_admin"]
  network               = module.network.egress
  # Nobody scrapes it here, so it may sleep.
  instances       = { min = 0, max = 1 }
  access          = var.admin_access
  viewers         = var.viewers
  operators       = var.operators
  payload_readers = var.payload_readers
  labels          = local.labels
}

# Everything that runs takes its image from here, so that nothing runs an image before its migrations are done.
module "migrate" {
  source = "../../modules/job"

  project_id            = var.project_id
  region                = var.region
  name                  = "fleet-migrate"
  image                 = var.image
  service_account_email = module.migrate_identity.email
  database              = module.database.connections[local.owner]
  network               = module.network.egress
  args                  = ["migrate"]
  environment           = { FLEET_GRANT = join(",", local.grants) }
  run                   = true
  labels                = local.labels
}

# A worker that nobody pushes to: it sweeps, and does the replays that people ask for, for as long as they take. The
# workers that scale to zero would be gone in the middle. The topic is given when it is started.
module "replay" {
  source = "../../modules/job"

  project_id            = var.project_id
  region                = var.region
  name                  = "fleet-replay"
  image                 = module.migrate.image
  service_account_email = module.identity.email
  database              = module.database.connections[local.job_user]
  network               = module.network.egress
  args                  = ["worker"]
  timeout_seconds       = 86400
  max_retries           = 0
  max_connections       = 4
  runners               = var.operators
  labels                = local.labels

  environment = {
    FLEET_TOPIC                = keys(local.topics)[0]
    FLEET_DELIVERY             = "push"
    FLEET_HTTP_LISTEN          = "127.0.0.1:8080"
    FLEET_PUSH_AUDIENCE        = "fleet-replay"
    FLEET_PUSH_SERVICE_ACCOUNT = module.push_identity.email
  }
}

# Parts of a rebuild that a person has asked for. Workers that scale to zero would be gone in the middle. The projection is
# given when it is started. A task that was killed goes on where it was, and the last one makes the indexes.
module "build" {
  source = "../../modules/job"
  count  = var.build == null ? 0 : 1

  project_id            = var.project_id
  region                = var.region
  name                  = "fleet-build"
  image                 = module.migrate.image
  service_account_email = module.identity.email
  database              = module.database.connections[local.job_user]
  network               = module.network.egress
  args                  = ["build"]
  tasks                 = var.build.tasks
  timeout_seconds       = 86400
  max_retries           = 3
  max_connections       = var.build.max_connections
  cpu                   = var.build.cpu
  memory                = var.build.memory
  runners               = var.operators
  labels                = local.labels
}

# Six conditions, because each is billed by the month: 9 dollars at the list price of November 2026, 1.50 each. Late, stalled, given
# up by the bus, full; and from the log, because what scales to zero cannot be scraped: parked, and different from the store.
module "alerts" {
  source = "../../modules/alerts"

  project_id    = var.project_id
  runbooks      = var.runbooks
  channels      = { page = var.notification_channels, ticket = var.notification_channels }
  subscriptions = { for topic in values(local.topics) : topic.subscription => { retention_days = topic.retention_days } }
  delivery      = "push"
  signals       = ["UnackedMessageOld", "SubscriptionStalled", "DeadLettersWait", "DatabaseDiskNearLimit"]
  logs          = ["ParkedEvents", "ReadModelDiffers"]
  # Pub/Sub's longest wait before another try is 600 s: what is younger may be waiting its turn.
  unacked_seconds = 900
  unacked_minutes = 10
  labels          = local.labels

  database = {
    instance        = module.database.instance
    max_connections = module.database.max_connections
    disk_limit_gb   = local.disk_limit_gb
  }
}

module "budget" {
  source = "../../modules/budget"
  count  = var.billing_account == null ? 0 : 1

  billing_account       = var.billing_account
  project_number        = data.google_project.this.number
  monthly_amount        = var.monthly_amount
  currency              = var.currency
  notification_channels = var.notification_channels
}
