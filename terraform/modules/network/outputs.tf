output "id" {
  description = "Id of the network, once the database can have an address in it."
  value       = google_compute_network.this.id
  depends_on  = [google_service_networking_connection.services]
}

output "egress" {
  description = "What the modules that run the image take as network."
  value = {
    network    = google_compute_network.this.id
    subnetwork = google_compute_subnetwork.this.id
  }
}
