"""The instruments: parsing and arithmetic without root, the wire and the pings with it."""
