"""What people read: tables, sentences, plots and files made from samples.

Nothing here measures, and nothing here touches a cluster.
"""
