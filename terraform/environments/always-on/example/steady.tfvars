# Steady work: one worker for each topic, a database of two cores. Each value's reason is in variables.tf.
environment = "steady"

# What is yours.
project_id = "my-project"
region     = "europe-west1"
image      = "europe-west1-docker.pkg.dev/my-project/fleet/fleet@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
runbooks   = "https://github.com/my-company/fleet/blob/main/docs/runbooks"

# Who appends, who deploys, and who is on call. iam: `gcloud run services proxy fleet-admin` reaches the admin API from anywhere.
appenders    = ["serviceAccount:commands@my-project.iam.gserviceaccount.com"]
deployers    = ["serviceAccount:deploy@my-project.iam.gserviceaccount.com"]
operators    = ["user:ada@example.com", "user:grace@example.com"]
admin_access = "iam"

notification_channels = {
  page   = ["projects/my-project/notificationChannels/1234567890123456789"]
  ticket = ["projects/my-project/notificationChannels/9876543210987654321"]
}

billing_account = "012345-6789AB-CDEF01"

# How large it is.
worker      = { instances = { min = 1, max = 1 }, cpu = 1, memory = "1Gi", max_connections = 12 }
event_store = { instances = { min = 1, max = 2 }, cpu = 1, memory = "1Gi", max_connections = 12 }
replay      = { cpu = 2, memory = "2Gi", max_connections = 10 }

database_tier             = "db-custom-2-7680"
database_availability     = "ZONAL"
database_disk_gb          = 50
database_disk_limit_gb    = 500
database_retained_backups = 14

# What is promised, and what it may cost.
slo            = { goal = 0.99, seconds = 60, days = 28 }
monthly_amount = 800
