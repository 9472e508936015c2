"""The board on paper, in a terminal and on a page."""
