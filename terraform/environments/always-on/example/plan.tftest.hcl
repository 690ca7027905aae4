# An example's values, planned: terraform test -test-directory=example -var-file=example/steady.tfvars
# What the plan contains is counted in the README.
mock_provider "google" {
  # Nothing else is known before the apply, as in the first plan of a new project.
  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
}

run "the_example_plans" {
  command = plan

  assert {
    condition     = output.connections.demand <= output.connections.takes
    error_message = "The example's connections fit into its database."
  }
}
