"""The article's story replayed on a running cluster, and its lines compared with real ones.

    story.yaml (data) --replay, on clusters--> results --compare--> verdicts
                                                  |
                                                text: a terminal's lines, JSON

``step`` is the vocabulary, ``article`` the story in it, how lines are compared, and the cluster.
The walk-through uses the article's own words: tunl0, IPIP.
"""
