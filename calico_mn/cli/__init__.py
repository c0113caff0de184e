"""The command line ``calico-mn``: verbs, their output, shell completion, and Mininet's prompt.

Modules are imported when a verb needs them: ``calico-mn --help`` and the shell's Tab are quick.
"""
