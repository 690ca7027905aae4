# A container that runs the image, and what every role is given in it. No resources: a container can only be written
# within a service, a pool or a job, so this says what is in it, and the modules that make those write it down.

locals {
  role = try(var.args[0], "")

  metrics_port = 9464

  # IAM writes serviceAccount:a@b and user:a@b, and a token has the email alone. A domain is written alike in both.
  roles = jsonencode({
    for role, members in var.roles :
    role => sort([for member in members : startswith(member, "domain:") ? member : split(":", member)[1]]) if length(members) > 0
  })

  memory_bytes = try(tonumber(regex("^[0-9]+", var.memory)), 0) * (endswith(var.memory, "Gi") ? 1073741824 : 1048576)
  # 48 MiB of 512 MiB, with which memory was measured, and as much of any other; the fleet takes 4 GiB at most.
  max_outstanding_bytes = coalesce(var.max_outstanding_bytes, min(floor(local.memory_bytes * 3 / 32), 4294967296))

  # A map, because the order of a list would be a difference in every plan.
  environment = merge(
    {
      DATABASE_URL         = var.database.url
      FLEET_LOG            = var.log
      FLEET_LOG_FORMAT     = "json"
      GOOGLE_CLOUD_PROJECT = var.project_id
    },
    var.max_connections == null ? {} : { FLEET_MAX_CONNECTIONS = tostring(var.max_connections) },
    # Metrics have a port of their own, which only what runs beside it reaches: whoever may call a service may not read them.
    var.http_port == null ? {} : {
      FLEET_HTTP_LISTEN    = "0.0.0.0:${var.http_port}"
      FLEET_METRICS_LISTEN = "127.0.0.1:${local.metrics_port}"
    },
    var.auth == null ? {} : { FLEET_AUTH = var.auth, FLEET_ROLES = local.roles },
    # By gRPC with TLS, showing tokens for its audience, as which it knows itself.
    var.event_store == null ? {} : { FLEET_GRPC = var.event_store.uri, FLEET_GOOGLE_AUDIENCE = var.event_store.audience },
    # To the collector beside it.
    var.traced ? { OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:4317" } : {},
    local.role == "worker" ? { FLEET_MAX_OUTSTANDING_BYTES = format("%d", local.max_outstanding_bytes) } : {},
    var.environment,
  )

  # A revision that cannot reach its database never becomes ready, and the one before it goes on working.
  startup_probe = { path = "/readyz", port = var.http_port, timeout_seconds = 3 }
  # Whether the process answers, not whether the database does: restarting whoever waits for the database helps nobody.
  liveness_probe = { path = "/healthz", port = var.http_port }
}
