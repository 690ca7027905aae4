# A fleet with steady work: a worker pool for each topic, an event store that is always awake, a database of its own
# cores, and the whole set of alerts.
#
# Every role has an account of its own, so that a worker can publish nothing and the event store can read no
# subscription. They share one user of Postgres, the owner of everything (ADR 0022).

locals {
  labels = { app = "fleet", environment = "steady" }

  # A new topic is one block here. Names and numbers are those of events/src/topic.rs.
  topics = {
    vocabulary-events = {
      subscription    = "vocabulary-projection"
      retention_days  = 7
      adopts          = false
      instances       = { min = 1, max = 1 }
      cpu             = 1
      memory          = "1Gi"
      max_connections = 12
    }
    progress-events = {
      subscription    = "progress-projection"
      retention_days  = 30
      adopts          = false
      instances       = { min = 1, max = 1 }
      cpu             = 1
      memory          = "1Gi"
      max_connections = 12
    }
    integration-events = {
      subscription    = "integration-projection"
      retention_days  = 7
      adopts          = true
      instances       = { min = 1, max = 1 }
      cpu             = 1
      memory          = "1Gi"
      max_connections = 8
    }
  }

  # What sends its metrics to Managed Prometheus must be allowed to.
  roles = var.collector_image == null ? [] : ["roles/monitoring.metricWriter"]

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
  description = "Runs migrations and long replays: reaches the database and nothing else."
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
      event-store = { instances = var.event_store_instances.max, connections = module.event_store.connections }
      admin       = { instances = 1, connections = module.admin.connections }
    },
    { for name, worker in module.worker : name => { instances = local.topics[name].instances.max, connections = worker.connections } },
  )
  # A migration beside a replay.
  job_connections = module.migrate.connections + module.replay.connections
}

module "event_store" {
  source = "../../modules/event-store"

  project_id            = var.project_id
  region                = var.region
  image                 = var.image
  service_account_email = module.event_store_identity.email
  database              = module.database.connections[local.user]
  network               = module.network.egress
  instances             = var.event_store_instances
  cpu                   = var.event_store_cpu
  memory                = "1Gi"
  max_connections       = 12
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
  image                 = var.image
  service_account_email = module.worker_identity[each.key].email
  database              = module.database.connections[local.user]
  network               = module.network.egress
  shape                 = var.worker_shape
  topic                 = each.key
  adopts                = each.value.adopts
  instances             = each.value.instances
  cpu                   = each.value.cpu
  memory                = each.value.memory
  max_connections       = each.value.max_connections
  collector_image       = var.collector_image
  labels                = local.labels
}

module "topic" {
  source   = "../../modules/topic"
  for_each = local.topics

  project_id                  = var.project_id
  name                        = each.key
  subscription                = each.value.subscription
  retention_days              = each.value.retention_days
  publishers                  = setunion([module.event_store_identity.member], each.value.adopts ? var.foreign_publishers : [])
  subscribers                 = [module.worker_identity[each.key].member]
  allowed_persistence_regions = var.allowed_persistence_regions
  labels                      = local.labels
}

module "admin" {
  source = "../../modules/admin"

  project_id            = var.project_id
  region                = var.region
  image                 = var.image
  service_account_email = module.admin_identity.email
  database              = module.database.connections[local.user]
  network               = module.network.egress
  access                = var.admin_access
  operators             = var.operators
  collector_image       = var.collector_image
  labels                = local.labels
}

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
  labels                = local.labels
}

# A worker that nobody pushes to: it sweeps, and does the replays that people ask for, with its own CPU and for as long
# as they take. The topic is given when it is started.
module "replay" {
  source = "../../modules/job"

  project_id            = var.project_id
  region                = var.region
  name                  = "fleet-replay"
  image                 = var.image
  service_account_email = module.job_identity.email
  database              = module.database.connections[local.user]
  network               = module.network.egress
  args                  = ["worker"]
  timeout_seconds       = 604800
  max_retries           = 3
  max_connections       = 10
  cpu                   = 2
  memory                = "2Gi"
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
