"""The pictures of experiments: plain data in, a :class:`calico_mn.report.document.Figure` out.

One module for each kind of picture. Each has small frozen dataclasses of its own for its input and
knows nothing of experiments; no file is written. matplotlib is loaded when the first picture is
drawn, since that takes a second.

    comparison    samples of a quantity by group and series, with medians and intervals
    distribution  empirical cumulative distributions
    deviation     samples against a computed value, in percent of it
    lines         a quantity over a size by series; growth over a count with a fitted line
    stacks        a quantity in parts: CPU time by kind, packets by path
    grid          a word and a tone for each cell of rows by columns
    timeline      when packets were lost

What they are made with: ``engine`` (matplotlib and its style), ``sheet`` (the paper),
``lettering`` (text and its room), ``scales`` (axes), ``looks`` (colours and shapes), ``layout``
(numbers in words, places on a line).
"""
