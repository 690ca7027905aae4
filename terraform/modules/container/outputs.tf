output "container" {
  description = "What a block containers has: name, image, args, ports, limits, startup_cpu_boost, environment, secrets by the variable that they become, startup_probes and liveness_probes (one or none), and mounts by the name of their volume."
  value = {
    name              = var.name
    image             = var.image
    args              = var.args
    ports             = var.serves == null ? [] : [var.serves]
    limits            = { cpu = tostring(var.cpu), memory = var.memory }
    startup_cpu_boost = true
    environment       = local.environment
    secrets           = var.database.password_secret == null ? {} : { PGPASSWORD = { secret = var.database.password_secret, version = var.database.password_version } }
    startup_probes    = var.http_port == null ? [] : [local.startup_probe]
    liveness_probes   = var.http_port == null ? [] : [local.liveness_probe]
    mounts            = var.database.instance == null ? {} : { cloudsql = "/cloudsql" }
  }
}

output "connections" {
  description = "Connections to Postgres that it opens at most, for the database's connection budget: those of its pools, one of the watch that looks who the primary is, and in an event store one that writes."
  # Migrations have a pool of two.
  value = coalesce(var.max_connections, 2) + 1 + (local.role == "event-store" ? 1 : 0)
}

output "metrics_port" {
  description = "Where it serves /metrics, on the loopback address of its instance."
  value       = local.metrics_port
}

output "egress" {
  description = "What a block vpc_access says as egress. Private addresses go through the network, and everything else where an event store is called that only the network leads to: to Cloud Run a caller is internal that comes out of a network."
  value       = try(var.event_store.internal, false) ? "ALL_TRAFFIC" : "PRIVATE_RANGES_ONLY"
}
