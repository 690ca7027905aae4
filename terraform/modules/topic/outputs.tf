output "topic" {
  description = "Id of the topic, projects/P/topics/NAME."
  value       = google_pubsub_topic.this.id
}

output "subscription" {
  description = "Id of the subscription that the workers read."
  value       = google_pubsub_subscription.this.id
}

output "dead_letter_topic" {
  description = "Id of the topic that receives what the broker could not deliver."
  value       = google_pubsub_topic.dead_letter.id
}

output "dead_letter_subscription" {
  description = "Id of the subscription that keeps it."
  value       = google_pubsub_subscription.dead_letter.id
}
