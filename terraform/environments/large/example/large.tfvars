# What must be said. Everything else has a default, and a reason in variables.tf.
project_id = "my-project"
region     = "europe-west1"
image      = "europe-west1-docker.pkg.dev/my-project/fleet/fleet@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
runbooks   = "https://github.com/my-company/fleet/blob/main/docs/runbooks"

# Who appends, who deploys, and who is on call.
appenders    = ["serviceAccount:commands@my-project.iam.gserviceaccount.com"]
deployers    = ["serviceAccount:deploy@my-project.iam.gserviceaccount.com"]
operators    = ["group:on-call@example.com"]
admin_access = "iap"

notification_channels = {
  page   = ["projects/my-project/notificationChannels/1234567890123456789"]
  ticket = ["projects/my-project/notificationChannels/9876543210987654321"]
}

database_availability = "REGIONAL"
database_tier         = "db-custom-8-30720"
event_store_instances = { min = 2, max = 2 }

billing_account = "012345-6789AB-CDEF01"
monthly_amount  = 3000
