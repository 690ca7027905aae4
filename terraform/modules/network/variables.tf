variable "project_id" {
  description = "Project of the network."
  type        = string
}

variable "region" {
  description = "Region of the subnetwork, which is where Cloud Run runs."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region looks like europe-west1; europe-west1-b is a zone."
  }
}

variable "name" {
  description = "Name of the network and of what is in it."
  type        = string
  default     = "fleet"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,50}[a-z0-9])?$", var.name))
    error_message = "A network name has at most 52 lowercase letters, digits and hyphens, and starts with a letter."
  }
}

variable "subnetwork_range" {
  description = "Addresses of Cloud Run's instances. Each takes one, twice during a rollout, and gives it back only after minutes: 256 are enough for a hundred instances."
  type        = string
  default     = "10.64.0.0/24"

  validation {
    condition     = can(cidrhost(var.subnetwork_range, 0)) && try(tonumber(split("/", var.subnetwork_range)[1]) <= 26, false)
    error_message = "subnetwork_range is a range of addresses such as 10.64.0.0/24, and at most /26: Cloud Run wants 64 addresses."
  }
}

variable "services_prefix_length" {
  description = "Size of the range that Google's services, and so the database, get of this network. Google advises /16; /24 is the least for Cloud SQL."
  type        = number
  default     = 20

  validation {
    condition     = var.services_prefix_length >= 16 && var.services_prefix_length <= 24
    error_message = "services_prefix_length is from 16 to 24."
  }
}
