"""The report's parts: markup, charts, sections, and what collects their content."""
