# The topics of the fleet. Names and numbers are those of events/src/topic.rs.

locals {
  topics = {
    vocabulary-events = {
      subscription   = "vocabulary-projection"
      retention_days = 7
      adopts         = false
    }
    progress-events = {
      subscription   = "progress-projection"
      retention_days = 30
      adopts         = false
    }
    integration-events = {
      subscription   = "integration-projection"
      retention_days = 7
      adopts         = true
    }
  }
}

module "topic" {
  source   = "../../modules/topic"
  for_each = local.topics

  project_id                  = var.project_id
  name                        = each.key
  subscription                = each.value.subscription
  retention_days              = each.value.retention_days
  publishers                  = setunion([var.event_store], each.value.adopts ? var.foreign_publishers : [])
  subscribers                 = [var.workers]
  push                        = lookup(var.push, each.key, null)
  allowed_persistence_regions = var.allowed_persistence_regions
  labels                      = { app = "fleet" }
}
