"""The HTTP API behind API Gateway: its routes, what answers them, and its errors as problem documents."""
