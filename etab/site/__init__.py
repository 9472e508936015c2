"""A board as a folder of static pages, which work from a disk and from any static host.

``write_site`` (``etab.site.write``) makes the folder. Every script and style of a page is a file of
the folder, so the content-security policy of the pages allows nothing else.
"""
