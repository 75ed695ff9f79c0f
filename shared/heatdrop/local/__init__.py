"""The cloud on one machine: deploys template.yaml into moto and moves its events."""
