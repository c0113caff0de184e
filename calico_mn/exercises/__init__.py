"""Exercises: a running cluster with one thing wrong, to be found by ``verify``, ``trace`` and eyes.

    catalogue (symptom, question, hints, solution) --Exercises.begin--> a fault in the cluster
                                                   <--Exercises.reset-- all as before
"""
