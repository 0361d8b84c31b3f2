"""The same tests on other servers: `python -m tests.portability` writes docs/portability.md."""
