#!/bin/sh
# Starts the compose stack, waits until it is healthy, and asks Grafana what a person would: health, signing in, the data
# source, every dashboard, and the query of every panel through Grafana. Exit status 1 names what did not answer.
# Needs Docker and a filled .env (see .env.example); leaves the stack running.
set -eu
cd "$(dirname "$0")/.."
[ -f .env ] || { echo "copy .env.example to .env and fill in every name first" >&2; exit 2; }
docker compose up --detach --build --wait
# The password goes by the environment: an argument would be in the list of processes.
INFERWATCH_GRAFANA_PASSWORD=$(sed -n "s/^GRAFANA_ADMIN_PASSWORD=//p" .env | sed "s/^[\"']//; s/[\"']\$//")
export INFERWATCH_GRAFANA_PASSWORD
exec docker compose run --rm --no-deps \
  --env INFERWATCH_GRAFANA_URL=http://grafana:3000 --env INFERWATCH_GRAFANA_USER=admin --env INFERWATCH_GRAFANA_PASSWORD \
  worker dashboards smoke "$@"
