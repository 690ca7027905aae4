# The worker of one topic, in one of three shapes. What all shapes share is here; service.tf and pool.tf are the two
# resources of Cloud Run that run it.
#
# Drain: Cloud Run sends SIGTERM and kills after 10 s, which cannot be changed. The worker needs 8 s at most: it stops
# pulling, finishes or rolls back the batch in hand, and gives the rest back.

locals {
  http = 8080
  # The event store beside an adopting worker.
  store_grpc = "127.0.0.1:50051"
  store_http = 8081
  scales     = var.instances.max > var.instances.min

  containers = concat([module.container.container], module.event_store[*].container, module.collector.containers)
}

module "container" {
  source = "../container"

  project_id            = var.project_id
  name                  = "worker"
  image                 = var.image
  args                  = ["worker"]
  database              = var.database
  cpu                   = var.cpu
  memory                = var.memory
  log                   = var.log
  traced                = var.collector_image != null
  max_connections       = var.max_connections
  max_outstanding_bytes = var.max_outstanding_bytes
  http_port             = local.http
  # A pool has no address, but its probes need the port all the same.
  serves = var.shape == "pool" ? null : { name = "http1", container_port = local.http }

  environment = merge(
    {
      FLEET_TOPIC       = var.topic
      FLEET_SWEEP_GRACE = tostring(var.sweep_grace_seconds)
    },
    var.push == null ? {
      FLEET_DELIVERY        = "pull"
      FLEET_STREAMS         = tostring(var.streams)
      FLEET_MAX_OUTSTANDING = tostring(var.max_outstanding)
      } : {
      FLEET_DELIVERY             = "push"
      FLEET_PUSH_AUDIENCE        = var.push.audience
      FLEET_PUSH_SERVICE_ACCOUNT = var.push.service_account_email
    },
    var.adopts ? { FLEET_GRPC = local.store_grpc } : {},
  )
}

# Any number of event stores may write at once. This one does not relay, and only its own instance reaches it.
module "event_store" {
  source = "../container"
  count  = var.adopts ? 1 : 0

  project_id      = var.project_id
  name            = "event-store"
  image           = var.image
  args            = ["event-store"]
  database        = var.database
  cpu             = 1
  memory          = "512Mi"
  log             = var.log
  traced          = var.collector_image != null
  max_connections = 4
  http_port       = local.store_http
  beside          = true

  environment = {
    FLEET_GRPC_LISTEN = local.store_grpc
    FLEET_NO_RELAY    = "true"
  }
}

module "collector" {
  source = "../collector"

  project_id = var.project_id
  name       = var.name
  image      = var.collector_image
  ports      = var.adopts ? [local.http, local.store_http] : [local.http]
}
