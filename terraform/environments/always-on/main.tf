# A fleet that is always awake: a worker pool for each topic, an event store, a database of its own cores, and the whole
# set of alerts. How large all of it is stands in a file of values: example/steady.tfvars, example/large.tfvars.
#
# Every role has an account of its own, so that a worker can publish nothing and the event store can read no
# subscription, and a user of Postgres of its own, whose password no other account may read (ADR 0036).

locals {
  labels = { app = "fleet", environment = var.environment }

  # What the program says of its topics; a test compares the two.
  topics = { for topic in jsondecode(file("${path.module}/../../../deploy/topics.json")) : topic.name => topic }

  # The size of each worker: that of all, where nothing else is said of its topic.
  workers = {
    for name in keys(local.topics) : name =>
    merge(var.worker, { for part, size in try(var.worker_exceptions[name], {}) : part => size if size != null })
  }

  # What sends its metrics to Managed Prometheus, and its spans to Cloud Trace, must be allowed to.
  roles = var.collector_image == null ? [] : ["roles/monitoring.metricWriter", "roles/cloudtrace.agent"]

  # Users of Postgres (ADR 0036). The owner of everything is what migrations log in as, and nothing else; what each of the
  # others may do is its duty, which migrations grant it.
  owner        = "fleet"
  worker_users = { for name in keys(local.topics) : name => "fleet_worker_${replace(trimsuffix(name, "-events"), "-", "_")}" }
  # Of both jobs, for all topics: the environment of an execution may be another one, and so its topic or projection, but not
  # its secret. A user for each topic would take as many jobs as there are topics, for what only runs when a person starts it.
  job_user = "fleet_job"
  # Each, and the accounts that may read its password.
  users = merge(
    {
      (local.owner)       = [module.migrate_identity.email]
      "fleet_event_store" = [module.event_store_identity.email]
      "fleet_admin"       = [module.admin_identity.email]
      (local.job_user)    = [module.job_identity.email]
    },
    { for name, user in local.worker_users : user => [module.worker_identity[name].email] },
  )
  grants = concat(
    [for duty in ["append", "relay", "prune"] : "${duty}=fleet_event_store"],
    ["admin=fleet_admin"],
    flatten([for topic, user in local.worker_users : ["worker:${topic}=${user}", "worker:${topic}=${local.job_user}"]]),
    flatten([for projection, users in var.readers : [for user in users : "reader:${projection}=${user}"]]),
  )

  # How a worker that adopts gets to the event store, and as whom.
  adopters    = toset([for name, topic in local.topics : module.worker_identity[name].member if topic.adopts_foreign_events])
  event_store = { uri = module.event_store.uri, audience = module.event_store.audience, internal = var.event_store_ingress == "internal" }
}

data "google_project" "this" {
  project_id = var.project_id
}

module "event_store_identity" {
  source = "../../modules/identity"

  project_id  = var.project_id
  name        = "fleet-event-store"
  description = "Runs the event store: publishes to every topic, reads no subscription."
  roles       = local.roles
}

module "worker_identity" {
  source   = "../../modules/identity"
  for_each = local.topics

  project_id  = var.project_id
  name        = "fleet-worker-${trimsuffix(each.key, "-events")}"
  description = "Runs the worker of ${each.key}: reads its subscription and its dead letters, publishes nothing."
  roles       = local.roles
}

module "admin_identity" {
  source = "../../modules/identity"

  project_id  = var.project_id
  name        = "fleet-admin"
  description = "Runs the admin API and measures lag: reaches the database and nothing else."
  roles       = local.roles
}

module "job_identity" {
  source = "../../modules/identity"

  project_id  = var.project_id
  name        = "fleet-job"
  description = "Runs long replays and rebuilds: reaches the database and nothing else."
}

module "migrate_identity" {
  source = "../../modules/identity"

  project_id  = var.project_id
  name        = "fleet-migrate"
  description = "Runs migrations, as the owner of everything in the database."
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
  edition             = var.database_edition
  availability        = var.database_availability
  max_connections     = var.database_max_connections
  disk_gb             = var.database_disk_gb
  disk_limit_gb       = var.database_disk_limit_gb
  recovery_days       = var.database_recovery_days
  retained_backups    = var.database_retained_backups
  password_rotation   = var.password_rotation
  deletion_protection = var.deletion_protection
  labels              = local.labels

  users = local.users

  demand = merge(
    {
      event-store = { instances = var.event_store.instances.max, connections = module.event_store.connections }
      admin       = { instances = 1, connections = module.admin.connections }
    },
    { for name, worker in module.worker : name => { instances = local.workers[name].instances.max, connections = worker.connections } },
  )
  # A migration beside a replay and a rebuild. The previous image is never rolled out, so that its workers are counted once.
  job_connections = sum(concat(
    [module.migrate.connections, module.replay.connections],
    module.build[*].connections,
    [for name, worker in module.previous_worker : local.workers[name].instances.max * worker.connections],
  ))
}

module "event_store" {
  source = "../../modules/event-store"

  project_id            = var.project_id
  region                = var.region
  image                 = module.migrate.image
  service_account_email = module.event_store_identity.email
  database              = module.database.connections["fleet_event_store"]
  network               = module.network.egress
  instances             = var.event_store.instances
  cpu                   = var.event_store.cpu
  memory                = var.event_store.memory
  max_connections       = var.event_store.max_connections
  ingress               = var.event_store_ingress
  appenders             = setunion(var.appenders, local.adopters)
  readers               = var.event_readers
  collector_image       = var.collector_image
  labels                = local.labels
}

module "worker" {
  source   = "../../modules/worker"
  for_each = local.topics

  project_id            = var.project_id
  region                = var.region
  name                  = "fleet-worker-${trimsuffix(each.key, "-events")}"
  image                 = module.migrate.image
  service_account_email = module.worker_identity[each.key].email
  database              = module.database.connections[local.worker_users[each.key]]
  network               = module.network.egress
  shape                 = var.worker_shape
  topic                 = each.key
  event_store           = each.value.adopts_foreign_events ? local.event_store : null
  timeout_seconds       = each.value.ack_deadline_seconds
  instances             = local.workers[each.key].instances
  cpu                   = local.workers[each.key].cpu
  memory                = local.workers[each.key].memory
  max_connections       = local.workers[each.key].max_connections
  collector_image       = var.collector_image
  labels                = local.labels
}

# The code that built what is read goes on writing it until what image builds is promoted, and keeps the way back afterwards
# (ADR 0027). It pulls from the same subscription: what one of the two does not write to, the sweep of the other takes from the store.
module "previous_worker" {
  source   = "../../modules/worker"
  for_each = var.previous_image == null ? {} : local.topics

  project_id            = var.project_id
  region                = var.region
  name                  = "fleet-worker-${trimsuffix(each.key, "-events")}-previous"
  image                 = var.previous_image
  service_account_email = module.worker_identity[each.key].email
  database              = module.database.connections[local.worker_users[each.key]]
  network               = module.network.egress
  shape                 = var.worker_shape
  topic                 = each.key
  event_store           = each.value.adopts_foreign_events ? local.event_store : null
  timeout_seconds       = each.value.ack_deadline_seconds
  instances             = local.workers[each.key].instances
  cpu                   = local.workers[each.key].cpu
  memory                = local.workers[each.key].memory
  collector_image       = var.collector_image
  labels                = local.labels
  # It writes what the new image does not, and no more: both have to fit into the database.
  max_connections = min(6, local.workers[each.key].max_connections)
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
  publishers                  = setunion([module.event_store_identity.member], each.value.adopts_foreign_events ? var.foreign_publishers : [])
  subscribers                 = [module.worker_identity[each.key].member]
  allowed_persistence_regions = var.allowed_persistence_regions
  labels                      = local.labels
}

module "admin" {
  source = "../../modules/admin"

  project_id            = var.project_id
  region                = var.region
  image                 = module.migrate.image
  service_account_email = module.admin_identity.email
  database              = module.database.connections["fleet_admin"]
  network               = module.network.egress
  access                = var.admin_access
  viewers               = var.viewers
  operators             = var.operators
  payload_readers       = var.payload_readers
  collector_image       = var.collector_image
  labels                = local.labels
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
  runners               = var.deployers
  run                   = true
  labels                = local.labels
}

# A worker that nobody pushes to: it sweeps, and does the replays that people ask for, with its own CPU and for as long
# as they take. The topic is given when it is started.
module "replay" {
  source = "../../modules/job"

  project_id            = var.project_id
  region                = var.region
  name                  = "fleet-replay"
  image                 = module.migrate.image
  service_account_email = module.job_identity.email
  database              = module.database.connections[local.job_user]
  network               = module.network.egress
  args                  = ["worker"]
  timeout_seconds       = 604800
  max_retries           = 3
  max_connections       = var.replay.max_connections
  cpu                   = var.replay.cpu
  memory                = var.replay.memory
  runners               = var.operators
  labels                = local.labels

  environment = {
    FLEET_TOPIC                = keys(local.topics)[0]
    FLEET_DELIVERY             = "push"
    FLEET_HTTP_LISTEN          = "127.0.0.1:8080"
    FLEET_PUSH_AUDIENCE        = "fleet-replay"
    FLEET_PUSH_SERVICE_ACCOUNT = module.job_identity.email
  }
}

# Parts of a rebuild that a person has asked for, for a store that outgrows the workers. The projection is given when it is
# started. A task that was killed goes on where it was, and the last one makes the indexes.
module "build" {
  source = "../../modules/job"
  count  = var.build == null ? 0 : 1

  project_id            = var.project_id
  region                = var.region
  name                  = "fleet-build"
  image                 = module.migrate.image
  service_account_email = module.job_identity.email
  database              = module.database.connections[local.job_user]
  network               = module.network.egress
  args                  = ["build"]
  tasks                 = var.build.tasks
  timeout_seconds       = 604800
  max_retries           = 3
  max_connections       = var.build.max_connections
  cpu                   = var.build.cpu
  memory                = var.build.memory
  runners               = var.operators
  labels                = local.labels
}

module "alerts" {
  source = "../../modules/alerts"

  project_id      = var.project_id
  runbooks        = var.runbooks
  channels        = var.notification_channels
  subscriptions   = { for topic in values(local.topics) : topic.subscription => { retention_days = topic.retention_days } }
  delivery        = "pull"
  jobs            = [module.migrate.name]
  unacked_seconds = 300
  unacked_minutes = 5
  rules_file      = var.collector_image == null ? null : "${path.module}/../../../deploy/prometheus/alerts.yaml"
  dashboards      = var.collector_image == null ? null : "${path.module}/../../../deploy/grafana/dashboards"
  slo             = var.slo
  labels          = local.labels

  database = {
    instance        = module.database.instance
    max_connections = module.database.max_connections
    disk_limit_gb   = var.database_disk_limit_gb
  }
}

module "budget" {
  source = "../../modules/budget"
  count  = var.billing_account == null ? 0 : 1

  billing_account       = var.billing_account
  project_number        = data.google_project.this.number
  monthly_amount        = var.monthly_amount
  currency              = var.currency
  notification_channels = var.notification_channels.ticket
}
