"""`make smoke-compose`: the deployed form, tried on a container engine from building to coming back."""
