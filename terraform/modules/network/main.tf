# The one network of the fleet: Cloud Run on the one side, the database's private address on the other. It has no way in
# from the internet: no addresses, no firewall rule, no router.

resource "google_compute_network" "this" {
  # checkov:skip=CKV2_GCP_18: There is no machine in it that a firewall could guard; what is not allowed to come in is denied.
  project                 = var.project_id
  name                    = var.name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "this" {
  # checkov:skip=CKV_GCP_26: Its only flows are Cloud Run's to the database, which logs its connections itself.
  project       = var.project_id
  region        = var.region
  name          = var.name
  network       = google_compute_network.this.id
  ip_cidr_range = var.subnetwork_range
  # To Google's APIs without addresses of the internet. Calls from here to internal services of Cloud Run need it.
  private_ip_google_access = true
}

resource "google_compute_global_address" "services" {
  project       = var.project_id
  name          = "${var.name}-services"
  network       = google_compute_network.this.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = var.services_prefix_length
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]
  # Google holds the peering for hours after the last database is gone, and a destroy would wait for it in vain.
  deletion_policy = "ABANDON"
}
