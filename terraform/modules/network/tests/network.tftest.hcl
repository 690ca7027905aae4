mock_provider "google" {
  override_during = plan

  mock_resource "google_compute_network" {
    defaults = {
      id = "projects/fleet-test/global/networks/fleet"
    }
  }
  mock_resource "google_compute_subnetwork" {
    defaults = {
      id = "projects/fleet-test/regions/europe-west1/subnetworks/fleet"
    }
  }
}

variables {
  project_id = "fleet-test"
  region     = "europe-west1"
}

run "the_network_has_one_subnetwork_and_googles_services" {
  command = plan

  assert {
    condition     = google_compute_network.this.auto_create_subnetworks == false && google_compute_subnetwork.this.ip_cidr_range == "10.64.0.0/24"
    error_message = "None that nobody asked for."
  }
  assert {
    condition     = google_compute_global_address.services.purpose == "VPC_PEERING" && google_compute_global_address.services.address_type == "INTERNAL" && google_compute_global_address.services.prefix_length == 20
    error_message = "The database's address comes from here."
  }
  assert {
    condition     = google_service_networking_connection.services.reserved_peering_ranges == tolist(["fleet-services"])
    error_message = "And by this peering."
  }
}

run "internal_services_can_be_called_from_it" {
  command = plan

  assert {
    condition     = google_compute_subnetwork.this.private_ip_google_access
    error_message = "Without it, a call to run.app leaves the network and is not internal."
  }
}

run "a_subnetwork_too_small_for_cloud_run_is_refused" {
  command = plan

  variables {
    subnetwork_range = "10.64.0.0/27"
  }

  expect_failures = [var.subnetwork_range]
}

run "what_is_no_range_is_refused" {
  command = plan

  variables {
    subnetwork_range       = "10.64.0.0"
    services_prefix_length = 30
    region                 = "europe"
    name                   = "Fleet"
  }

  expect_failures = [var.subnetwork_range, var.services_prefix_length, var.region, var.name]
}
