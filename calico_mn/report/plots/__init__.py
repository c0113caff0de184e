"""The pictures of experiments: plain data in, a :class:`calico_mn.report.document.Figure` out.

Each kind has small frozen dataclasses of its own for its input and knows nothing of experiments;
no file is written.

    comparison    samples of a quantity by group and series, with medians and intervals;
                  samples against a computed value, in percent of it (deviation); ratios to a
                  reference with their intervals, around the line at 1 (forest)
    lines         a quantity over a size by series; growth over a count with a fitted line
    distribution  empirical cumulative distributions
    stacks        a quantity in parts: CPU time by kind, shares of packets by path
    grid          a word and a tone for each cell of rows by columns; when packets were lost
                  (timeline)

``canvas`` is matplotlib in our style, with what all kinds share: rows, units, checks.
"""
