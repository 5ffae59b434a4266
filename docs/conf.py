"""How the site is built: sphinx-build -W docs build/site. -W makes a link that leads nowhere an error."""

project = "xedge"
extensions = ["myst_parser", "sphinx_copybutton", "sphinx_design"]
html_theme = "furo"
html_title = "xedge"
html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
# Pages link to each other's headings as GitHub names them.
myst_heading_anchors = 4
# ::: holds what only the site shows as cards; on GitHub its text and links stay readable.
myst_enable_extensions = ["colon_fence"]
# Indented blocks are commands and their output, which no language colours rightly; Python's blocks name their language.
highlight_language = "none"
exclude_patterns = ["*.py"]
