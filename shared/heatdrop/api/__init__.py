"""Questions and answers over HTTP: what API Gateway hands to the function, as problems, pages, links and records."""
