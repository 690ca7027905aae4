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
}

variable "ports" {
  description = "Ports on which the containers of the instance serve /metrics."
  type        = set(number)

  validation {
    condition     = length(var.ports) > 0 && alltrue([for port in var.ports : port > 0 && port < 65536])
    error_message = "ports has at least one port, from 1 to 65535."
  }
}
