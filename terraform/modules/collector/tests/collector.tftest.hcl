variables {
  project_id = "fleet-test"
  name       = "fleet-admin"
  image      = "us-docker.pkg.dev/cloud-ops-agents-artifacts/google-cloud-opentelemetry-collector/otelcol-google:0.138.0"
  ports      = [8080]
}

run "it_scrapes_its_neighbour_and_writes_to_managed_prometheus" {
  command = plan

  assert {
    condition     = yamldecode(output.containers[0].environment.OTELCOL_CONFIG).receivers.prometheus.config.scrape_configs[0].static_configs[0].targets == ["127.0.0.1:8080"]
    error_message = "On the loopback address of the instance."
  }
  assert {
    condition     = yamldecode(output.containers[0].environment.OTELCOL_CONFIG).exporters.googlemanagedprometheus.project == "fleet-test"
    error_message = "Into this project."
  }
  assert {
    condition     = yamldecode(output.containers[0].environment.OTELCOL_CONFIG).receivers.prometheus.config.scrape_configs[0].scrape_interval == "30s"
    error_message = "Alerts on lag want a measurement at least every 30 s."
  }
}

run "instances_are_told_apart" {
  command = plan

  assert {
    condition     = contains([for attribute in yamldecode(output.containers[0].environment.OTELCOL_CONFIG).processors.resource.attributes : attribute.key], "service.instance.id")
    error_message = "Two instances that write one series would refuse each other."
  }
}

run "its_configuration_is_the_one_it_reads" {
  command = plan

  assert {
    condition     = output.containers[0].args == ["--config=env:OTELCOL_CONFIG"]
    error_message = "From the environment: no file, no secret."
  }
}

run "without_an_image_there_is_none" {
  command = plan

  variables {
    image = null
  }

  assert {
    condition     = length(output.containers) == 0
    error_message = "It is a choice."
  }
}

run "nothing_to_scrape_is_refused" {
  command = plan

  variables {
    ports = []
  }

  expect_failures = [var.ports]
}

run "an_image_that_moves_is_refused" {
  command = plan

  variables {
    image = "otelcol-google:latest"
  }

  expect_failures = [var.image]
}

run "spans_come_from_the_instance_itself_and_go_to_cloud_trace" {
  command = plan

  assert {
    condition     = yamldecode(output.containers[0].environment.OTELCOL_CONFIG).receivers.otlp.protocols.grpc.endpoint == "127.0.0.1:4317"
    error_message = "Nobody else reaches it."
  }
  assert {
    condition     = yamldecode(output.containers[0].environment.OTELCOL_CONFIG).service.pipelines.traces.exporters == ["googlecloud"]
    error_message = "Into Cloud Trace."
  }
}
