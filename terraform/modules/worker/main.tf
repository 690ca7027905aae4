# The worker of one topic, in one of three shapes. What all shapes share is here; service.tf and pool.tf are the two
# resources of Cloud Run that run it.
#
# Drain: Cloud Run sends SIGTERM and kills after 10 s, which cannot be changed. The worker needs 8 s at most: it stops
# pulling, finishes or rolls back the batch in hand, and gives the rest back.

locals {
  http   = 8080
  scales = var.instances.max > var.instances.min

  containers = concat([module.container.container], module.collector.containers)
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
  # Adopting is appending.
  event_store = var.event_store

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
  )
}

module "collector" {
  source = "../collector"

  project_id = var.project_id
  name       = var.name
  image      = var.collector_image
  ports      = [module.container.metrics_port]
}
