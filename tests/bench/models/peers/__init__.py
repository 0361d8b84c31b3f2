"""The competitors, a module each: `python -m tests.bench.models.peers.NAME job.json`, in its environment."""
