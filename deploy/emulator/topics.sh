#!/bin/sh
# Creates in the Pub/Sub emulator what Terraform creates in production: topics, subscriptions, dead letters. Repeat it at
# will; what exists stays as it is. The values are those of events/src/topic.rs, as in terraform/modules/topic.
#
#   PUBSUB_EMULATOR_HOST=localhost:8085 deploy/emulator/topics.sh
#
# Needs only a POSIX shell and curl.
set -eu

base="http://${PUBSUB_EMULATOR_HOST:?host:port of the emulator}/v1"
project="projects/${GOOGLE_CLOUD_PROJECT:-fleet-dev}"

# put PATH JSON
put() {
    # The emulator listens some time before it answers; a refusal is an answer.
    status=$(curl --silent --show-error --output /dev/null --write-out '%{http_code}' \
        --retry 30 --retry-delay 1 --retry-connrefused --max-time 10 \
        --request PUT --header 'Content-Type: application/json' --data "$2" "$base/$1")
    case $status in
        200) echo "created $1" ;;
        409) echo "exists  $1" ;;
        *) echo "creating $1: the emulator answered $status" >&2; exit 1 ;;
    esac
}

# topic NAME SUBSCRIPTION RETENTION_DAYS
topic() {
    dead_letter="$2-dead-letter"
    put "$project/topics/$dead_letter" '{}'
    put "$project/subscriptions/$dead_letter" "{\"topic\": \"$project/topics/$dead_letter\"}"
    put "$project/topics/$1" "{\"messageRetentionDuration\": \"$(($3 * 86400))s\"}"
    put "$project/subscriptions/$2" "{
        \"topic\": \"$project/topics/$1\",
        \"ackDeadlineSeconds\": 60,
        \"retryPolicy\": {\"minimumBackoff\": \"10s\", \"maximumBackoff\": \"600s\"},
        \"deadLetterPolicy\": {\"deadLetterTopic\": \"$project/topics/$dead_letter\", \"maxDeliveryAttempts\": 100}
    }"
}

topic vocabulary-events vocabulary-projection 7
topic progress-events progress-projection 30
topic integration-events integration-projection 7
