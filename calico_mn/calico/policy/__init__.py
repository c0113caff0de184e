"""Felix's policy half: from policies, endpoints and a packet to a verdict, and to Felix's chains.

::

    policies --> resolve --> rules with IP sets --+--> verdict    what happens to a packet, and why
    endpoints -> active  --> policies in order  --+--> chains     what iptables-restore is given
"""
