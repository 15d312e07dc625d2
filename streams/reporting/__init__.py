"""Reports: one HTML file that says what is wrong, since when and what to do, to read without any server.

gathering, case_gathering    rows of the store to frozen facts (`facts`)
overview, case_page          facts to a document of plain blocks (`blocks`), pure
page, drawing                a document to one HTML file: the template, and charts as SVG
"""
