"""The report page: gather the documents, draw the charts, and write the page."""
