"""The article's story replayed on a running cluster, and its lines compared with real ones.

``article`` holds the article's lines, ``compare`` the rules by which they are compared with real
output, ``chapters`` the steps with their texts in two languages, ``replay`` runs them,
``text`` and ``document`` render the results, and ``command`` prints them.
"""
