"""Everything that crosses a boundary: HTTP bodies, rows handed out, job kinds, plans. No I/O.

Field names are the HTTP contract's. Times are timezone-aware UTC, sizes bytes, durations seconds,
ratios 0..1. An omitted optional field is left out of the JSON (`omit_defaults` is never used, so a
`None` is written as null only where the contract shows the field without a question mark).
"""
