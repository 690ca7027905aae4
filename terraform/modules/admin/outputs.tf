output "name" {
  description = "Name in Cloud Run, by which alerts find it."
  value       = var.name
}

output "uri" {
  description = "Where the admin API is: FLEET_HTTP of the commands, with access internal."
  value       = google_cloud_run_v2_service.this.uri
}

output "connections" {
  description = "Connections that an instance opens at most, for the database's connection budget: its pool's, and the watch's."
  value       = module.container.connections
}

output "audience" {
  description = "The audience of tokens for it, with access internal or iam: FLEET_GOOGLE_AUDIENCE of the commands."
  value       = local.audience
}
