"""How the site is built: sphinx-build -W docs build/site. -W makes a link that leads nowhere an error."""

project = "xedge"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "xedge"
html_show_copyright = False
html_copy_source = False
# Pages link to each other's headings as GitHub names them.
myst_heading_anchors = 4
exclude_patterns = ["generate.py"]
