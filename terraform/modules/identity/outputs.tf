output "email" {
  description = "Its email, for what runs as it."
  value       = google_service_account.this.email
}

output "member" {
  description = "The same as a member of IAM, for grants."
  value       = google_service_account.this.member
}
