# An account that something runs as, or that Pub/Sub pushes as. It has no keys: Cloud Run and Pub/Sub need none.

data "google_project" "this" {
  count = var.signed_by_pubsub ? 1 : 0

  project_id = var.project_id
}

resource "google_service_account" "this" {
  project      = var.project_id
  account_id   = var.name
  display_name = var.name
  description  = var.description
}

resource "google_project_iam_member" "this" {
  for_each = var.roles

  project = var.project_id
  role    = each.value
  member  = google_service_account.this.member
}

# On the account, not on the project: there the agent could sign as anybody.
resource "google_service_account_iam_member" "pubsub_signs" {
  count = var.signed_by_pubsub ? 1 : 0

  service_account_id = google_service_account.this.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = "serviceAccount:service-${data.google_project.this[0].number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}
