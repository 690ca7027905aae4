output "name" {
  description = "Name of the job: gcloud run jobs execute NAME."
  value       = google_cloud_run_v2_job.this.name
}

output "connections" {
  description = "Connections that a run opens at most, for the database's connection budget: its pools', and the watch's."
  value       = module.container.connections
}
