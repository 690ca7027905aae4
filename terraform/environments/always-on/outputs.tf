output "event_store" {
  description = "Where command services append, and the audience of their tokens."
  value       = module.event_store.uri
}

output "admin" {
  description = "Where the admin API is."
  value       = module.admin.uri
}

output "topics" {
  description = "Ids of what each topic is made of."
  value       = module.topic
}

output "connections" {
  description = "Connections that the fleet may open during a rollout, and those that the database takes."
  value       = { demand = module.database.demand, takes = module.database.max_connections }
}
