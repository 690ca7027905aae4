output "containers" {
  description = "The container, with what the module container says of one; an empty list where there is no image."
  value = var.image == null ? [] : [{
    name              = "collector"
    image             = var.image
    args              = ["--config=env:OTELCOL_CONFIG"]
    ports             = []
    limits            = { cpu = "1", memory = "512Mi" }
    startup_cpu_boost = null
    environment       = { OTELCOL_CONFIG = yamlencode(local.configuration) }
    secrets           = {}
    startup_probes    = []
    liveness_probes   = []
    mounts            = {}
  }]
}
