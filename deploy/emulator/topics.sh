#!/bin/sh
# Creates in the Pub/Sub emulator what Terraform creates in production: topics, subscriptions, dead letters, as
# deploy/topics.json says. Repeat it at will; what exists stays as it is.
#
#   PUBSUB_EMULATOR_HOST=localhost:8085 deploy/emulator/topics.sh [TOPICS.JSON]
#
# Needs only a POSIX shell, its usual tools, and curl.
set -eu

file=${1:-$(dirname "$0")/../topics.json}
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

# value NAME: of $topic, a text or a number. There is no jq where this runs, and no name or text here has a quote in it.
value() {
    found=$(printf '%s' "$topic" | sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p")
    [ -n "$found" ] || { echo "$file: no $1 in $topic" >&2; exit 1; }
    printf '%s' "$found"
}

# One topic a line.
topics=$(tr -d '\n' <"$file" | tr '}' '\n' | grep '"name"')

printf '%s\n' "$topics" | while read -r topic; do
    name=$(value name)
    subscription=$(value subscription)
    dead_letter=$(value dead_letter)
    put "$project/topics/$dead_letter" '{}'
    put "$project/subscriptions/$dead_letter" "{\"topic\": \"$project/topics/$dead_letter\"}"
    put "$project/topics/$name" "{\"messageRetentionDuration\": \"$(($(value retention_days) * 86400))s\"}"
    put "$project/subscriptions/$subscription" "{
        \"topic\": \"$project/topics/$name\",
        \"ackDeadlineSeconds\": $(value ack_deadline_seconds),
        \"retryPolicy\": {
            \"minimumBackoff\": \"$(value minimum_backoff_seconds)s\",
            \"maximumBackoff\": \"$(value maximum_backoff_seconds)s\"
        },
        \"deadLetterPolicy\": {
            \"deadLetterTopic\": \"$project/topics/$dead_letter\",
            \"maxDeliveryAttempts\": $(value max_delivery_attempts)
        }
    }"
done
