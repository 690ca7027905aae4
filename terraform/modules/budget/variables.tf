variable "billing_account" {
  description = "Billing account that pays for the project, such as 012345-6789AB-CDEF01."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "A billing account looks like 012345-6789AB-CDEF01."
  }
}

variable "project_number" {
  description = "Number of the project whose cost is watched. The API answers with numbers, and an id would be a difference in every plan."
  type        = string

  validation {
    condition     = can(regex("^[0-9]+$", var.project_number))
    error_message = "project_number has digits only; the id of the project is not its number."
  }
}

variable "name" {
  description = "Name of the budget in the console and in its mails."
  type        = string
  default     = "fleet"
}

variable "monthly_amount" {
  description = "What a month may cost, in whole units of the currency. Nothing is switched off beyond it: a budget only tells."
  type        = number

  validation {
    condition     = var.monthly_amount >= 1 && floor(var.monthly_amount) == var.monthly_amount
    error_message = "monthly_amount is a whole number from 1."
  }
}

variable "currency" {
  description = "Currency of the amount. It must be the billing account's own."
  type        = string
  default     = "USD"

  validation {
    condition     = can(regex("^[A-Z]{3}$", var.currency))
    error_message = "currency has three capital letters, such as USD."
  }
}

variable "thresholds" {
  description = "Shares of the amount at which it tells: spent so far, and a forecast of the whole."
  type        = set(number)
  default     = [0.5, 0.9, 1.0]

  validation {
    condition     = length(var.thresholds) > 0 && alltrue([for share in var.thresholds : share > 0 && share <= 10])
    error_message = "thresholds has at least one share, above 0 and at most 10."
  }
}

variable "notification_channels" {
  description = "Ids of notification channels that are told besides the billing account's administrators; at most five, as the API has it."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.notification_channels) <= 5 && alltrue([for id in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", id))])
    error_message = "notification_channels has at most five ids, projects/P/notificationChannels/ID."
  }
}
