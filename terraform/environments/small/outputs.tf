output "topics" {
  description = "Ids of what each topic is made of."
  value       = module.topic
}
