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

# The dashboards of Grafana, with the same queries: one list of them. A line of text becomes a title, a table its first query.
locals {
  files  = var.dashboards == null ? [] : tolist(fileset(var.dashboards, "*.json"))
  boards = { for name in local.files : trimsuffix(name, ".json") => jsondecode(file("${var.dashboards}/${name}")) }

  panels = {
    for name, board in local.boards : name => [
      for panel in board.panels : {
        title = panel.title
        grid  = panel.gridPos
        text  = panel.type == "row"
        queries = [
          # What Grafana fills in: each projection and topic at once, and a window that has several scrapes.
          for target in try(panel.targets, []) :
          replace(replace(replace(target.expr, "=\"$projection\"", "=~\".+\""), "=\"$topic\"", "=~\".+\""), "$__rate_interval", "5m")
        ]
        thresholds = [for step in try(panel.fieldConfig.defaults.thresholds.steps, []) : { value = step.value } if step.value != null]
      }
    ]
  }
}

resource "google_monitoring_dashboard" "board" {
  for_each = local.panels

  project = var.project_id

  dashboard_json = jsonencode({
    displayName = "fleet: ${local.boards[each.key].title}"
    mosaicLayout = {
      columns = 24
      tiles = [
        for panel in each.value : {
          xPos   = panel.grid.x
          yPos   = panel.grid.y
          width  = panel.grid.w
          height = panel.grid.h
          widget = { for key, value in {
            title         = panel.title
            sectionHeader = panel.text ? { dividerBelow = true } : null
            xyChart = panel.text ? null : {
              dataSets = [for query in panel.queries : {
                plotType        = "LINE"
                timeSeriesQuery = { prometheusQuery = query }
              }]
              thresholds = panel.thresholds
              yAxis      = { scale = "LINEAR" }
            }
          } : key => value if value != null }
        }
      ]
    }
  })
}
