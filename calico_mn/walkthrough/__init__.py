"""The article's story replayed on a running cluster, and its lines compared with real ones.

    chapters (data) --replay, on clusters--> results --compare--> verdicts
                                                |
                                              text: a terminal's lines, JSON

``article`` holds the article's lines and its cluster, ``step`` the vocabulary, ``compare`` the
rules by which lines are compared. The walk-through uses the article's own words: tunl0, IPIP.
"""
