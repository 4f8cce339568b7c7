"""A comparison as one HTML file: charts, a pick, tables, and how it all was made.

It asks nothing of the network and runs from disk. What it shows comes from `data`; how, from
page.html, page.css, page.js and words.json.
"""
