# A fleet that is always awake: a worker pool for each topic, an event store, a database of its own cores, and the whole
# set of alerts. How large all of it is stands in a file of values: example/steady.tfvars, example/large.tfvars.
#
# Every role has an account of its own, so that a worker can publish nothing and the event store can read no
# subscription. They share one user of Postgres, the owner of everything (ADR 0022).

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

  user = "fleet"
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
  description = "Runs migrations, long replays and rebuilds: reaches the database and nothing else."
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

  users = {
    (local.user) = setunion(
      [module.event_store_identity.email, module.admin_identity.email, module.job_identity.email],
      [for identity in module.worker_identity : identity.email],
    )
  }

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
  database              = module.database.connections[local.user]
  network               = module.network.egress
  instances             = var.event_store.instances
  cpu                   = var.event_store.cpu
  memory                = var.event_store.memory
  max_connections       = var.event_store.max_connections
  ingress               = var.event_store_ingress
  appenders             = var.appenders
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
  database              = module.database.connections[local.user]
  network               = module.network.egress
  shape                 = var.worker_shape
  topic                 = each.key
  adopts                = each.value.adopts_foreign_events
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
  database              = module.database.connections[local.user]
  network               = module.network.egress
  shape                 = var.worker_shape
  topic                 = each.key
  adopts                = each.value.adopts_foreign_events
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
  database              = module.database.connections[local.user]
  network               = module.network.egress
  access                = var.admin_access
  operators             = var.operators
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
  service_account_email = module.job_identity.email
  database              = module.database.connections[local.user]
  network               = module.network.egress
  args                  = ["migrate"]
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
  database              = module.database.connections[local.user]
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
  database              = module.database.connections[local.user]
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
