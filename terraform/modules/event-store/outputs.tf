output "name" {
  description = "Name in Cloud Run, by which alerts find it."
  value       = var.name
}

output "uri" {
  description = "Where command services append, by gRPC with TLS on port 443."
  value       = google_cloud_run_v2_service.this.uri
}

output "audience" {
  description = "The audience of tokens for it: what the fleet's own programs are told as FLEET_GOOGLE_AUDIENCE. Who shows one token only may take uri as well."
  value       = local.audience
}

output "connections" {
  description = "Connections that an instance opens at most, for the database's connection budget: its pools', the one that writes, and the watch's."
  value       = module.container.connections
}
