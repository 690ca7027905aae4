output "name" {
  description = "Name that Google gave the budget, billingAccounts/A/budgets/ID."
  value       = google_billing_budget.this.name
}
