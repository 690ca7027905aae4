# Six tiles, in the order in which one asks. A line where there is an alert.
locals {
  tiles = [
    { title = "Oldest unacknowledged message, seconds", queries = [local.oldest_unacked], threshold = var.unacked_seconds },
    { title = "Messages waiting", queries = [local.waiting], threshold = null },
    { title = "Acknowledged a second", queries = [local.acked], threshold = null },
    { title = "Dead letters waiting", queries = [local.dead_letters], threshold = 0 },
    { title = "Database: connections", queries = [local.backends], threshold = try(floor(var.database.max_connections * 0.8), null) },
    { title = "Database: CPU", queries = [local.cpu], threshold = 0.9 },
  ]
}

resource "google_monitoring_dashboard" "this" {
  project = var.project_id

  dashboard_json = jsonencode({
    displayName = "fleet"
    mosaicLayout = {
      columns = 12
      tiles = [
        for index, tile in local.tiles : {
          xPos   = (index % 2) * 6
          yPos   = floor(index / 2) * 4
          width  = 6
          height = 4
          widget = {
            title = tile.title
            xyChart = {
              dataSets = [for query in tile.queries : {
                plotType        = "LINE"
                timeSeriesQuery = { prometheusQuery = query }
              }]
              thresholds = tile.threshold == null ? [] : [{ value = tile.threshold }]
              yAxis      = { scale = "LINEAR" }
            }
          }
        }
      ]
    }
  })
}
