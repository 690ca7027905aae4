terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.0, < 9.0"
    }
  }

  # The bucket is given at init: terraform init -backend-config="bucket=NAME" -backend-config="prefix=fleet"
  backend "gcs" {}
}

provider "google" {
  project = var.project_id
  region  = var.region
}
