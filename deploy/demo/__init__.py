"""`make demo`: the whole way from a table to a model in use, over HTTP like any other client."""
