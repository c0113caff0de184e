"""The colours that mean something, in plots, drawings and slides alike. Pure.

They are Okabe and Ito's (Color Universal Design, 2008), which people with any colour vision tell
apart. Greys, backgrounds and letters are each picture's own.
"""

ORANGE, SKY, GREEN = "#e69f00", "#56b4e9", "#009e73"
BLUE, VERMILION, PURPLE = "#0072b2", "#d55e00", "#cc79a7"

#: by IPIP mode: the same mode has the same colour in every picture
MODES = {"Always": VERMILION, "CrossSubnet": BLUE, "Never": GREEN}
