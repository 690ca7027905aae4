output "names" {
  description = "Names of the alerts there are; each is the name of its runbook."
  value       = sort(concat(keys(local.alerts), keys(local.logs)))
}
