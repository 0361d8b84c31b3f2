"""What the fits of test_cluster.py are forked from imports this: they try, grow and explain little."""

from services.trainer import explain, learning_curve, search
from services.trainer.candidates import boosting

search.MOST_TRIALS = 2
boosting.MOST_ROUNDS = 60
explain.permutation = lambda *_, **__: []
learning_curve.measured = lambda *_, **__: None
