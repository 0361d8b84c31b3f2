"""A model asked for one row at a time: in a process that holds it, and over HTTP."""
