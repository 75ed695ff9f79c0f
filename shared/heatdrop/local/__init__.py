"""The whole cloud on one machine: template.yaml deployed into moto, with functions and jobs as local processes."""
