# What must be said. Everything else has a default, and a reason in variables.tf.
project_id = "my-project"
region     = "europe-west1"
image      = "europe-west1-docker.pkg.dev/my-project/fleet/fleet@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
runbooks   = "https://github.com/my-company/fleet/blob/main/docs/runbooks"

# Who appends, and who is on call. iam: `gcloud run services proxy fleet-admin` reaches the admin API from anywhere.
appenders    = ["serviceAccount:commands@my-project.iam.gserviceaccount.com"]
operators    = ["user:ada@example.com", "user:grace@example.com"]
admin_access = "iam"

notification_channels = ["projects/my-project/notificationChannels/1234567890123456789"]

billing_account = "012345-6789AB-CDEF01"
monthly_amount  = 60
