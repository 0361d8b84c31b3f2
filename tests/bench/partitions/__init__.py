"""Tables of ten million runs, as they are and cut by month, and what the product's statements cost there."""
