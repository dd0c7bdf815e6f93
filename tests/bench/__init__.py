"""`make bench`: each thing beside a neighbour, in turns, in one run. Only the ratios mean
something: machines drift."""
