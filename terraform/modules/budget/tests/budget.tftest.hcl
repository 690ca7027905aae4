mock_provider "google" {
  override_during = plan
}

variables {
  billing_account = "012345-6789AB-CDEF01"
  project_number  = "123456789012"
  monthly_amount  = 60
}

run "it_watches_one_project_by_the_month" {
  command = plan

  assert {
    condition     = google_billing_budget.this.budget_filter[0].projects == toset(["projects/123456789012"]) && google_billing_budget.this.budget_filter[0].calendar_period == "MONTH"
    error_message = "By number, as the API has it."
  }
  assert {
    condition     = google_billing_budget.this.amount[0].specified_amount[0].units == "60" && google_billing_budget.this.amount[0].specified_amount[0].currency_code == "USD"
    error_message = "The amount is the given one."
  }
}

run "it_tells_before_the_money_is_gone" {
  command = plan

  assert {
    condition     = sort([for rule in google_billing_budget.this.threshold_rules : "${rule.spend_basis} ${rule.threshold_percent}"]) == tolist(["CURRENT_SPEND 0.5", "CURRENT_SPEND 0.9", "CURRENT_SPEND 1", "FORECASTED_SPEND 1"])
    error_message = "At half, at nine tenths, at the end, and when a forecast says so."
  }
}

run "administrators_hear_of_it_with_or_without_channels" {
  command = plan

  assert {
    condition     = google_billing_budget.this.all_updates_rule[0].disable_default_iam_recipients == false
    error_message = "Somebody always does."
  }
}

run "what_the_api_would_refuse_is_refused_before" {
  command = plan

  variables {
    billing_account       = "my account"
    project_number        = "fleet-test"
    monthly_amount        = 0.5
    currency              = "dollar"
    thresholds            = []
    notification_channels = ["somebody@example.com"]
  }

  expect_failures = [
    var.billing_account,
    var.project_number,
    var.monthly_amount,
    var.currency,
    var.thresholds,
    var.notification_channels,
  ]
}
