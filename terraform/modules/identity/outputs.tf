# Both are put together from what is known before the account is there, so that grants to it can be counted in the first
# plan; who uses them waits for the account all the same.
locals {
  email = "${var.name}@${var.project_id}.iam.gserviceaccount.com"
}

output "email" {
  description = "Its email, for what runs as it."
  value       = local.email
  depends_on  = [google_service_account.this]
}

output "member" {
  description = "The same as a member of IAM, for grants."
  value       = "serviceAccount:${local.email}"
  depends_on  = [google_service_account.this]
}
