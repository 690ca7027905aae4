# The container that carries /metrics of its neighbours to Managed Prometheus, and their spans to Cloud Trace. No resources: a container can only be
# written within a service or a pool, so this is what the modules that make those put there.
#
# Managed Prometheus' own sidecar is for services only. The collector works in services, pools and jobs alike.
locals {
  configuration = {
    receivers = {
      prometheus = {
        config = {
          scrape_configs = [{
            job_name        = var.name
            scrape_interval = "30s"
            static_configs  = [{ targets = [for port in sort([for port in var.ports : tostring(port)]) : "127.0.0.1:${port}"] }]
          }]
        }
      }
      # From its neighbours only: on the loopback address of the instance.
      otlp = { protocols = { grpc = { endpoint = "127.0.0.1:4317" } } }
    }
    processors = {
      # Spans are dropped before the process is.
      memory_limiter = { check_interval = "5s", limit_mib = 200, spike_limit_mib = 50 }
      # Where it runs, and which instance it is.
      resourcedetection = { detectors = ["gcp"], timeout = "10s" }
      resource = {
        attributes = [
          { key = "service.name", value = var.name, action = "upsert" },
          { key = "service.instance.id", from_attribute = "faas.instance", action = "upsert" },
        ]
      }
      batch = { send_batch_max_size = 200, timeout = "5s" }
    }
    exporters = {
      googlemanagedprometheus = { project = var.project_id }
      googlecloud             = { project = var.project_id }
    }
    service = {
      pipelines = {
        metrics = {
          receivers  = ["prometheus"]
          processors = ["memory_limiter", "resourcedetection", "resource", "batch"]
          exporters  = ["googlemanagedprometheus"]
        }
        traces = {
          receivers  = ["otlp"]
          processors = ["memory_limiter", "resourcedetection", "resource", "batch"]
          exporters  = ["googlecloud"]
        }
      }
    }
  }
}
