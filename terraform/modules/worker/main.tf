# The worker of one topic, in one of three shapes. What all shapes share is here; service.tf and pool.tf are the two
# resources of Cloud Run that run it.
#
# Drain: Cloud Run sends SIGTERM and kills after 10 s, which cannot be changed. The worker needs 8 s at most: it stops
# pulling, finishes or rolls back the batch in hand, and gives the rest back.

locals {
  http = 8080
  # The event store beside an adopting worker.
  store_http = 8081
  scales     = var.instances.max > var.instances.min

  # A map, because the order of a list would be a difference in every plan.
  environment = merge(
    {
      DATABASE_URL          = var.database.url
      FLEET_MAX_CONNECTIONS = tostring(var.max_connections)
      FLEET_LOG             = var.log
      FLEET_LOG_FORMAT      = "json"
      FLEET_HTTP_LISTEN     = "0.0.0.0:${local.http}"
      FLEET_TOPIC           = var.topic
      FLEET_SWEEP_GRACE     = tostring(var.sweep_grace_seconds)
      GOOGLE_CLOUD_PROJECT  = var.project_id
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
    var.adopts ? { FLEET_GRPC = "127.0.0.1:50051" } : {},
  )

  # Any number of event stores may write at once. This one does not relay, and only its own instance reaches it.
  event_store = {
    name  = "event-store"
    image = var.image
    args  = ["event-store"]
    environment = {
      DATABASE_URL          = var.database.url
      FLEET_GRPC_LISTEN     = "127.0.0.1:50051"
      FLEET_HTTP_LISTEN     = "0.0.0.0:${local.store_http}"
      FLEET_LOG             = var.log
      FLEET_LOG_FORMAT      = "json"
      FLEET_MAX_CONNECTIONS = "4"
      FLEET_NO_RELAY        = "true"
      GOOGLE_CLOUD_PROJECT  = var.project_id
    }
    database = true
    # Its health, and nothing about the database: the worker beside it waits for the database already.
    probe_port = local.store_http
    limits     = { cpu = "1", memory = "512Mi" }
  }

  sidecars = concat(
    var.adopts ? [local.event_store] : [],
    [for container in module.collector.containers : merge(container, { database = false, probe_port = null })],
  )
}

module "collector" {
  source = "../collector"

  project_id = var.project_id
  name       = var.name
  image      = var.collector_image
  ports      = var.adopts ? [local.http, local.store_http] : [local.http]
}
