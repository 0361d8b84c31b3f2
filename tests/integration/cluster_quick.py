"""Imported by the process that the fits of test_cluster.py are forked from: they try and grow little."""

from services.trainer import search
from services.trainer.candidates import boosting

search.MOST_TRIALS = 2
boosting.MOST_ROUNDS = 60
