output "containers" {
  description = "The container, as name, image, args, environment and limits; an empty list where there is no image."
  value = var.image == null ? [] : [{
    name        = "collector"
    image       = var.image
    args        = ["--config=env:OTELCOL_CONFIG"]
    environment = { OTELCOL_CONFIG = yamlencode(local.configuration) }
    limits      = { cpu = "1", memory = "512Mi" }
  }]
}
