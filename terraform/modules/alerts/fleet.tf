# Alerts on the fleet's own metrics: the rules that Prometheus is given elsewhere, so that there is one list of them.
locals {
  units = { s = 1, m = 60, h = 3600, d = 86400 }

  groups = yamldecode(var.rules_file == null ? "groups: []" : file(var.rules_file)).groups
  rules  = flatten([for group in local.groups : [for rule in group.rules : rule if can(rule.alert)]])

  fleet = {
    for rule in local.rules : rule.alert => {
      severity = rule.labels.severity
      expr     = trimspace(rule.expr)
      lasts    = try(tonumber(regex("^([0-9]+)[smhd]$", rule["for"])[0]) * local.units[regex("^[0-9]+([smhd])$", rule["for"])[0]], 0)
      # The summary has templates that only Prometheus fills in.
      meaning = rule.annotations.description
      first   = "fleet status"
    }
  }
}
