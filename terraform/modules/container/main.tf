# A container that runs the image, and what every role is given in it. No resources: a container can only be written
# within a service, a pool or a job, so this says what is in it, and the modules that make those write it down.

locals {
  role = try(var.args[0], "")

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
    var.http_port == null ? {} : { FLEET_HTTP_LISTEN = "0.0.0.0:${var.http_port}" },
    # To the collector beside it.
    var.traced ? { OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:4317" } : {},
    local.role == "worker" ? { FLEET_MAX_OUTSTANDING_BYTES = format("%d", local.max_outstanding_bytes) } : {},
    var.environment,
  )

  # A revision that cannot reach its database never becomes ready, and the one before it goes on working. Who runs beside
  # another asks for nothing but itself: the other waits for the database already.
  startup_probe = { path = var.beside ? "/healthz" : "/readyz", port = var.http_port, timeout_seconds = var.beside ? null : 3 }
  # Whether the process answers, not whether the database does: restarting whoever waits for the database helps nobody.
  liveness_probe = { path = "/healthz", port = var.http_port }
}
