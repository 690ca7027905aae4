variable "project_id" {
  description = "Project whose Managed Prometheus gets the metrics."
  type        = string
}

variable "name" {
  description = "Name of the service or pool, which becomes the label job."
  type        = string
}

variable "image" {
  description = "Image of Google's OpenTelemetry collector. Null: there is none, and containers is empty."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || can(regex("(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9._-]*)$", var.image)) && !can(regex(":latest$", var.image))
    error_message = "The collector's image has a digest or a tag that does not move."
  }
}

variable "ports" {
  description = "Ports on which the containers of the instance serve /metrics."
  type        = set(number)

  validation {
    condition     = length(var.ports) > 0 && alltrue([for port in var.ports : port > 0 && port < 65536])
    error_message = "ports has at least one port, from 1 to 65535."
  }
}
