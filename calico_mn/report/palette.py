"""The colours that mean something, in plots, drawings and slides alike. Pure.

They are Okabe and Ito's (Color Universal Design, 2008), which people with any colour vision tell
apart. Greys, backgrounds and letters are each picture's own.
"""

ORANGE, SKY, GREEN = "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

#: by IPIP mode: the same mode has the same colour in every picture
MODES = {"Always": VERMILION, "CrossSubnet": BLUE, "Never": GREEN}
