"""Deploys the stack into an AWS account: what ``make deploy`` does, with the SAM CLI and Docker."""
