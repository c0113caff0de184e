"""The frame of an experiment: command line, run, log, resumption, interruption, report.

The experiments themselves are the files in experiments/, one each: question, factors, method,
report. A script declares an :class:`.frame.Experiment`; :mod:`.runner` leads it from the command
line to the report around the script's method, which works with a :class:`.run.Run`.
"""
