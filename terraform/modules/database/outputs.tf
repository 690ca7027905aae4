output "connections" {
  description = "For each user, what the modules that run the image take as database. Complete only once the password is there and may be read."
  value = {
    for name in keys(var.users) : name => {
      url              = "postgres://${name}@localhost/${google_sql_database.this.name}?host=/cloudsql/${google_sql_database_instance.this.connection_name}&sslmode=disable"
      password_secret  = google_secret_manager_secret.password[name].secret_id
      password_version = google_secret_manager_secret_version.password[name].version
      instance         = google_sql_database_instance.this.connection_name
    }
  }
  depends_on = [
    google_sql_user.this,
    google_secret_manager_secret_iam_member.reader,
    google_project_iam_member.client,
  ]
}

output "instance" {
  description = "Name of the instance, by which alerts find it."
  value       = google_sql_database_instance.this.name
}

output "max_connections" {
  description = "Connections that the instance takes."
  value       = local.max_connections
}

output "demand" {
  description = "Connections that the fleet may open during a rollout."
  value       = local.demand
}
