# Passwords are made here and are known to nobody: not to the state, not to the plan, not to whoever applies. A UUID has
# more than 120 random bits from the system's source; within one apply a local has one value, which goes to both places
# as a write-only argument. It is another value in the next apply, where nobody asks for it unless password_rotation was
# raised (ADR 0022).
locals {
  passwords = { for name in keys(var.users) : name => uuid() }

  accounts = toset(flatten([for accounts in values(var.users) : tolist(accounts)]))
  readers = merge([
    for name, accounts in var.users : { for account in accounts : "${name} ${account}" => { user = name, account = account } }
  ]...)
}

resource "google_sql_user" "this" {
  for_each = var.users

  project             = var.project_id
  instance            = google_sql_database_instance.this.name
  name                = each.key
  type                = "BUILT_IN"
  password_wo         = local.passwords[each.key]
  password_wo_version = var.password_rotation
  # Postgres does not drop a user that owns tables, and a destroy would hang on it.
  deletion_policy = "ABANDON"
}

resource "google_secret_manager_secret" "password" {
  for_each = var.users

  project   = var.project_id
  secret_id = "${var.name}-${replace(each.key, "_", "-")}-password"
  labels    = var.labels

  # Where the database is, and nowhere else.
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

resource "google_secret_manager_secret_version" "password" {
  for_each = var.users

  secret                 = google_secret_manager_secret.password[each.key].id
  secret_data_wo         = local.passwords[each.key]
  secret_data_wo_version = var.password_rotation
  # A revision of Cloud Run that is rolled back to still names the version before.
  deletion_policy = "ABANDON"
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = local.readers

  project   = var.project_id
  secret_id = google_secret_manager_secret.password[each.value.user].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${each.value.account}"
}

# Asked by the connector, before Postgres asks for the password. The role is for all instances of the project; the
# condition makes it this one.
resource "google_project_iam_member" "client" {
  for_each = local.accounts

  project = var.project_id
  role    = "roles/cloudsql.client"
  member  = "serviceAccount:${each.value}"

  condition {
    title       = "only ${var.name}"
    description = "Connects to the fleet's database and to no other."
    expression  = "resource.type == \"sqladmin.googleapis.com/Instance\" && resource.name == \"projects/${var.project_id}/instances/${var.name}\""
  }
}
