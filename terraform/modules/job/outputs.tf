output "name" {
  description = "Name of the job: gcloud run jobs execute NAME."
  value       = google_cloud_run_v2_job.this.name
}

output "image" {
  description = "Image of the job, once its run with that image has succeeded, if an apply runs it."
  value       = var.image
  depends_on  = [terraform_data.run]
}

output "connections" {
  description = "Connections that an execution opens at most, for the database's connection budget: in each task those of its pools, and one of the watch."
  value       = var.tasks * module.container.connections
}
