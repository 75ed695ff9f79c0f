"""All that knows an AWS service, one module a service or table. Empty, so that a function loads only what it uses."""
