output "name" {
  description = "Name in Cloud Run, by which alerts find it."
  value       = var.name
}

output "push" {
  description = "What the module topic takes as push. Null where workers pull."
  value = var.push == null ? null : {
    endpoint              = "${google_cloud_run_v2_service.this[0].uri}/push"
    service_account_email = var.push.service_account_email
    audience              = var.push.audience
  }
}

output "connections" {
  description = "Connections that an instance opens at most, for the database's connection budget: its pools', and the watch's."
  value       = module.container.connections
}
